//! A folder that results are exported to, from its first file to its manifest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
};

use super::places::real;
use crate::base::{
    durable,
    error::{IoAt, Result},
    locks::Locks,
};
use crate::{
    base::digest::Digest,
    store::{
        action_result::ActionResult,
        manifest::{Made, Manifest},
    },
};

/// What was taken out of the project: files of actions that no longer make them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// As the pipeline wrote it.
    pub folder: String,
    pub files: Vec<String>,
    /// No longer made, but edited since they were written, so that they stay and are the user's.
    pub left: Vec<String>,
}

/// Where each action of a pipeline exports to, as real paths, and the beginning of the names of all of them.
pub(super) struct Planned<'p> {
    pub owner: &'p str,
    pub folders: BTreeMap<&'p str, PathBuf>,
}

/// A folder that something was exported to.
#[derive(Debug)]
pub(super) struct Folder {
    /// As the pipeline wrote it.
    name: String,
    path: PathBuf,
    /// As it was before the run.
    pub manifest: Manifest,
    claimed: BTreeMap<String, Made>,
    /// Actions whose files were placed.
    makers: BTreeSet<String>,
    /// Folders whose names are to be synced.
    changed: BTreeSet<PathBuf>,
}

impl Folder {
    /// A folder as it is before anything is placed in it.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn open(name: &str, path: &Path) -> Result<Self> {
        let manifest = Manifest::read(path)?;
        let (claimed, makers, changed) = Default::default();
        Ok(Self { name: name.to_owned(), path: path.to_owned(), manifest, claimed, makers, changed })
    }

    /// Notes that all files of a result of `by` are in place. `changed` are folders that got names.
    pub fn claim(&mut self, by: &str, result: &ActionResult, changed: BTreeSet<PathBuf>) {
        self.changed.extend(changed);
        self.makers.insert(by.to_owned());
        for file in &result.files {
            self.claimed.insert(file.name.clone(), Made { by: by.to_owned(), blake3: file.digest });
        }
    }

    /// Writes the manifest. With `planned`, what isn't made any more is removed first.
    ///
    /// # Errors
    /// Where the manifest can't be read, understood or written, or a file that is no longer made can't be removed.
    pub fn finish(mut self, planned: Option<&Planned>) -> Result<Option<Removed>> {
        if !self.path.is_dir() {
            return Ok(None);
        }
        // Others may export here, too. Where folders can't be locked, the last one to write wins.
        let handle = File::open(&self.path).ok();
        let _locked = handle.as_ref().map(|folder| Locks::from_env().wait(folder, &self.path));
        let before = Manifest::read(&self.path)?;
        let mut now = before.clone();
        for (file, made) in &self.claimed {
            if let Some(earlier) = now.files.insert(file.clone(), made.clone()) {
                // Of an artifact that another one has replaced in part, the rest goes, too.
                self.makers.insert(earlier.by);
            }
        }
        let removed = planned.map(|planned| self.remove_stale(&mut now, planned)).transpose()?;
        durable::sync_folders(self.changed.iter().filter(|folder| folder.is_dir()))?;
        if now != before {
            now.write(&self.path)?;
            if now.files.is_empty() {
                // If there is nothing else in it.
                let _ = fs::remove_dir(&self.path);
            }
        }
        Ok(removed)
    }

    /// Takes out of a manifest what isn't made any more, and out of the folder what nobody has changed.
    fn remove_stale(&mut self, manifest: &mut Manifest, planned: &Planned) -> Result<Removed> {
        let base = real(&self.path).io_at("find", &self.path)?;
        let elsewhere = |by: &str| planned.folders.get(by).is_none_or(|folder| *folder != base);
        let stale = |file: &str, made: &Made| {
            let moved = made.by.starts_with(planned.owner) && elsewhere(&made.by);
            moved || (self.makers.contains(&made.by) && !self.claimed.contains_key(file))
        };
        let stale: Vec<String> =
            manifest.files.iter().filter(|(file, made)| stale(file, made)).map(|(file, _)| file.clone()).collect();
        let mut removed = Removed { folder: self.name.clone(), files: Vec::new(), left: Vec::new() };
        for file in stale {
            let Some(made) = manifest.files.remove(&file) else { continue };
            let place = self.path.join(&file);
            let parent = durable::parent(&place).to_owned();
            let inside = real(&parent).is_ok_and(|parent| parent.starts_with(&base));
            match fs::symlink_metadata(&place) {
                Ok(m) if inside && m.is_file() && Digest::of_file(&place).is_ok_and(|d| d == made.blake3) => {
                    durable::remove(&place)?;
                    self.remove_empty(&parent);
                    removed.files.push(file);
                }
                Ok(_) => removed.left.push(file),
                Err(_) => {}
            }
        }
        Ok(removed)
    }

    /// Removes a folder below this one, and those above it, where they are empty.
    fn remove_empty(&mut self, folder: &Path) {
        self.changed.insert(folder.to_owned());
        for folder in folder.ancestors().take_while(|folder| **folder != self.path) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
            self.changed.insert(durable::parent(folder).to_owned());
        }
    }
}
