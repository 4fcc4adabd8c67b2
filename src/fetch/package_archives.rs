//! Files out of the archives of Python packages, from the mirror folder or the package index.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use reqwest::Url;

use super::{
    archive::{self, Extraction, Wanted},
    fetch_settings::Settings,
    fetched::sha256,
    http_download::Known,
    location::{Location, PackageFile},
    mirror,
    package_index::{self, IndexFile},
    package_name::{candidates, normalised},
    pip_config::{configured, parse_index},
    placed_files,
    plain_http::check_plain,
    source::Source,
    unavailable::missing,
    url_text::shown,
    watch::Watch,
    web::Web,
};
use crate::base::{
    digest::Digest,
    error::{Error, IoAt, Result},
};

/// What is known of the package index and of the archives that it lists.
#[derive(Default)]
pub(super) struct PackageArchives {
    index: OnceLock<Url>,
    listings: Mutex<HashMap<String, Arc<Vec<IndexFile>>>>,
    verified: Mutex<HashSet<PathBuf>>,
}

/// A file that is wanted, and the ways to it.
#[derive(Clone, Copy)]
pub(super) struct PackageRequest<'a> {
    pub settings: &'a Settings,
    pub web: &'a Web,
    pub file: &'a PackageFile,
    pub source: &'a Source,
    /// A private folder that keeps archives between attempts.
    pub work: &'a Path,
    pub watch: &'a dyn Watch,
}

impl PackageArchives {
    /// Writes the member of the package to `to` and says which archive it came from.
    ///
    /// # Errors
    /// Where no archive has the member, or none can be had.
    pub fn extract(&self, request: &PackageRequest, to: &Path) -> Result<String> {
        let PackageRequest { settings, file, source, work, .. } = *request;
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

        for folder in settings.mirror.iter().flat_map(|mirror| mirror::places(mirror, &location)) {
            let names = placed_files::names(&folder);
            for name in candidates(&names, |name| name, id, &file.member) {
                let path = folder.join(name);
                match archive::extract(&path, name, &wanted(name), work, to)? {
                    Extraction::Found => return Ok(format!("{}#{}", path.display(), file.member)),
                    Extraction::Absent(names) => similar.extend(names),
                }
                looked_in.push(path.display().to_string());
            }
        }

        if settings.offline && looked_in.is_empty() {
            return Err(missing(&location));
        }
        if !settings.offline {
            let index = self.index(request)?;
            check_plain(&index, source.pin().is_some())?;
            let listing = self.listing(request, &index)?;
            for entry in candidates(&listing, |entry| &entry.name, id, &file.member) {
                let path = self.archive(request, entry)?;
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
    fn archive(&self, request: &PackageRequest, entry: &IndexFile) -> Result<PathBuf> {
        let PackageRequest { web, source, work, watch, .. } = *request;
        let path = work.join(format!("{}-{}", Digest::of(entry.url.as_str().as_bytes()).short(), entry.name));
        if locked(&self.verified).contains(&path) && path.is_file() {
            return Ok(path);
        }
        check_plain(&entry.url, entry.sha256.is_some() || source.pin().is_some())?;
        // What an earlier run left here is as good as new, if it has the right hash.
        let mut left_over = path.is_file();
        let mut resumed = false;
        loop {
            if !left_over {
                let known = Known { size: entry.size, pinned: entry.sha256.is_some() || source.pin().is_some() };
                resumed = web.download(&entry.url, known, work, &path, watch)?.resumed;
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
        locked(&self.verified).insert(path.clone());
        Ok(path)
    }

    fn listing(&self, request: &PackageRequest, index: &Url) -> Result<Arc<Vec<IndexFile>>> {
        let name = normalised(&request.file.name);
        if let Some(known) = locked(&self.listings).get(&name) {
            return Ok(known.clone());
        }
        let listing = Arc::new(package_index::listing(request.web, index, &name, request.watch)?);
        locked(&self.listings).insert(name, listing.clone());
        Ok(listing)
    }

    fn index(&self, request: &PackageRequest) -> Result<Url> {
        if let Some(known) = self.index.get() {
            return Ok(known.clone());
        }
        let url = match &request.settings.index {
            Some(text) => parse_index(text)?,
            None => {
                let empty = tempfile::tempdir_in(request.work).io_at("write in", request.work)?;
                configured(empty.path())?
            }
        };
        Ok(self.index.get_or_init(|| url).clone())
    }
}

/// The poisoned state of these maps can't be wrong: every insertion is one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
