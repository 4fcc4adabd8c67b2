//! From a source to a verified file, by whichever way leads there.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::{
    conceal::{Discreet, Secrets},
    fetch_settings::Settings,
    fetched::{Body, Fetched, measure, mismatch, refusal},
    http_download::{Came, Known},
    hub::Hub,
    location::Location,
    mirror,
    package_archives::{PackageArchives, PackageRequest},
    placed_files::{copy_bytes, place},
    source::Source,
    unavailable::{missing, unavailable},
    url_text::plain_path,
    watch::{Watch, check_stop},
    web::Web,
};
use crate::base::{
    digest::Digest,
    error::{Category, Error, IoAt, Result},
};

/// Fetches files. Remembers package listings and archives while it lives, so that several files of one package cost one
/// download.
pub struct Fetcher {
    settings: Settings,
    web: Web,
    hub: OnceLock<Hub>,
    packages: PackageArchives,
}

impl Fetcher {
    pub fn new(settings: Settings) -> Self {
        Self { web: Web::new(settings.backoff), settings, hub: OnceLock::new(), packages: PackageArchives::default() }
    }

    /// Fetches `source` and places it in the folder `into` under `name`.
    ///
    /// `work` is a private folder that keeps what has arrived when the download is interrupted.
    ///
    /// # Errors
    /// Where the file can't be had from any of its places (the source's `manual` text is then the help), or where its
    /// bytes aren't those that are pinned; then nothing of it is kept.
    pub fn fetch(&self, source: &Source, name: &str, into: &Path, work: &Path, watch: &dyn Watch) -> Result<Fetched> {
        if !plain_path(name) {
            return Err(Error::input(format!("`{name}` is no name for a file in an artifact"))
                .help("use a relative path without `..`"));
        }
        let (body, fetched) = self.discreetly(source, name, work, watch)?;
        let target = into.join(name);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).io_at("create", parent)?;
        }
        place(&body.path, &target)?;
        Ok(fetched)
    }

    /// Downloads `source` and says what it is, for a pin that isn't there yet. An existing BLAKE3 is ignored.
    ///
    /// # Errors
    /// Where the file can't be had from any of its places, or isn't what its SHA-256 says.
    pub fn digest_of(&self, source: &Source, name: &str, work: &Path, watch: &dyn Watch) -> Result<Fetched> {
        let unpinned = Source { blake3: None, size: None, ..source.clone() };
        let (body, fetched) = self.discreetly(&unpinned, name, work, watch)?;
        fs::remove_file(&body.path).io_at("remove", &body.path)?;
        Ok(fetched)
    }

    /// An error where it is clear without the network that `source` can't be had, so that nobody waits for its
    /// neighbours first.
    ///
    /// # Errors
    /// Also where the source names no place, or one that isn't understood or isn't safe.
    pub fn check_reachable(&self, source: &Source, name: &str) -> Result<()> {
        let locations = source.locations()?;
        let hopeless = |location: &Location| match location {
            Location::File(path) => !path.is_file(),
            _ if !self.settings.offline || self.mirrored(location).is_some() => false,
            Location::Hub(file) => self.hub().is_ok_and(|hub| hub.cached(file).is_none()),
            _ => true,
        };
        if !locations.iter().all(hopeless) {
            return Ok(());
        }
        let failures = locations.iter().map(missing).collect();
        Err(unavailable(&self.settings, source, name, &locations, failures))
    }

    /// Whether a copy of `source` lies on this machine: a local file, or in the mirror folder or the hub's cache.
    pub fn is_at_hand(&self, source: &Source) -> bool {
        source.locations().is_ok_and(|all| all.iter().any(|location| self.is_here(location)))
    }

    fn is_here(&self, location: &Location) -> bool {
        match location {
            Location::File(path) => path.is_file(),
            _ if self.mirrored(location).is_some() => true,
            Location::Hub(file) => self.hub().is_ok_and(|hub| hub.cached(file).is_some()),
            _ => false,
        }
    }

    fn discreetly(&self, source: &Source, name: &str, work: &Path, watch: &dyn Watch) -> Result<(Body, Fetched)> {
        let secrets = Secrets::of(source);
        secrets.hide_in(self.verified(source, name, work, &Discreet { watch, secrets: &secrets }))
    }

    /// Tries one place after the other, what lies on this machine first; what it returns has passed the pin.
    fn verified(&self, source: &Source, name: &str, work: &Path, watch: &dyn Watch) -> Result<(Body, Fetched)> {
        fs::create_dir_all(work).io_at("create", work)?;
        let mut locations = source.locations()?;
        locations.sort_by_key(|location| !self.is_here(location));
        let mut failures = Vec::new();
        for location in &locations {
            check_stop(watch)?;
            let mut result = self.obtain(location, source, work, watch);
            if let Ok(body) = &result
                && body.came.resumed
                && mismatch(source, &body.path, measure(&body.path)?)?.is_some()
            {
                // The file may have changed between the tries without the server saying so.
                watch.note(&format!("{name}: the two halves of {} don't fit; starting over", body.origin));
                fs::remove_file(&body.path).io_at("remove", &body.path)?;
                result = self.obtain(location, source, work, watch);
            }
            match result {
                Ok(body) => {
                    let fetched = measure(&body.path)?;
                    if let Some(error) = refusal(source, name, &body, fetched)? {
                        fs::remove_file(&body.path).io_at("remove", &body.path)?;
                        return Err(error);
                    }
                    return Ok((body, fetched));
                }
                Err(e) if e.category == Category::Interrupted => return Err(e),
                Err(e) => failures.push(e),
            }
        }
        Err(unavailable(&self.settings, source, name, &locations, failures))
    }

    fn obtain(&self, location: &Location, source: &Source, work: &Path, watch: &dyn Watch) -> Result<Body> {
        let path = work.join(format!("{}.new", Digest::of(location.to_string().as_bytes()).short()));
        let at_hand = |origin: String| Ok(Body::at_hand(path.clone(), origin));
        let from_afar = |came| Ok(Body { came, from_afar: true, ..Body::at_hand(path.clone(), location.to_string()) });
        if let Some(copy) = self.mirrored(location).filter(|_| !matches!(location, Location::Package(_))) {
            copy_bytes(&copy, &path)?;
            return at_hand(copy.display().to_string());
        }
        match location {
            Location::Package(file) => {
                let request = PackageRequest { settings: &self.settings, web: &self.web, file, source, work, watch };
                at_hand(self.packages.extract(&request, &path)?)
            }
            Location::File(original) => {
                if !original.is_file() {
                    return Err(missing(location));
                }
                copy_bytes(original, &path)?;
                at_hand(location.to_string())
            }
            Location::Hub(file) => {
                let hub = self.hub()?;
                if let Some(copy) = hub.cached(file) {
                    copy_bytes(&copy, &path)?;
                    return at_hand(format!("{location} ({})", copy.display()));
                }
                self.online(location)?;
                from_afar(Came { resumed: hub.download(file, work, &path, watch)?, encoding: None })
            }
            Location::Web(url) => {
                self.online(location)?;
                let known = Known { size: source.size, pinned: source.pin().is_some() };
                from_afar(self.web.download(url, known, work, &path, watch)?)
            }
        }
    }

    fn hub(&self) -> Result<&Hub> {
        if let Some(hub) = self.hub.get() {
            return Ok(hub);
        }
        let hub = Hub::new(self.settings.hub.as_deref(), self.settings.backoff)?;
        Ok(self.hub.get_or_init(|| hub))
    }

    /// The copy in the mirror folder; for a package, the folder of its archives.
    fn mirrored(&self, location: &Location) -> Option<PathBuf> {
        let places = mirror::places(self.settings.mirror.as_deref()?, location);
        places.into_iter().find(|place| match location {
            Location::Package(_) => place.is_dir(),
            _ => place.is_file(),
        })
    }

    fn online(&self, location: &Location) -> Result<()> {
        if self.settings.offline { Err(missing(location)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
