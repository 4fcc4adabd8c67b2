//! Copies of results in the project. What emopipe didn't write, or what was changed since, is never replaced unasked.
//!
//! A file counts as emopipe's if the folder's manifest has its bytes, or if it has the bytes that an action of the same name
//! gave earlier (a run that was killed leaves files that no manifest knows yet). Manifests are written when a run ends, once
//! for each folder; what another run added meanwhile stays.

mod conflict;
mod folder;
mod note;
mod places;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use conflict::{Conflict, in_the_way};
pub use folder::Removed;
use folder::{Folder, Planned};
use places::{real, stays_inside};

use super::{action_result::ActionResult, file_entry::FileEntry, open_store::Store};
use crate::base::digest::Digest;
use crate::base::{
    durable::{self, Draft},
    error::{Error, IoAt, Result},
};

/// What a run places in a project.
#[derive(Debug)]
pub struct Exports<'a> {
    store: &'a Store,
    /// The project's folder.
    root: PathBuf,
    /// Where it really is.
    real_root: PathBuf,
    /// Files that are never replaced, whatever was asked for: those that make up the pipeline.
    kept: BTreeSet<PathBuf>,
    overwrite: bool,
    /// By their real paths.
    folders: BTreeMap<PathBuf, Folder>,
    /// What made each file that was placed, by its real path.
    placed: BTreeMap<PathBuf, String>,
}

impl<'a> Exports<'a> {
    /// Exports of a pipeline in `root`. `kept` are files that are never replaced; with `overwrite`, others are even if emopipe
    /// didn't write them.
    ///
    /// # Errors
    /// Where `root` can't be found, for example because a link leads nowhere.
    pub fn new(
        store: &'a Store,
        root: &Path,
        kept: impl IntoIterator<Item = PathBuf>,
        overwrite: bool,
    ) -> Result<Self> {
        let real_root = real(root).io_at("find", root)?;
        let both = |path: PathBuf| [path.canonicalize().ok(), real_place(&path).ok()];
        let kept = kept.into_iter().flat_map(both).flatten().collect();
        let (folders, placed) = Default::default();
        Ok(Self { store, root: root.to_owned(), real_root, kept, overwrite, folders, placed })
    }

    /// Where a folder really lies, if files may be placed there.
    ///
    /// # Errors
    /// Where it leads out of the project through a link, or into the store.
    pub fn check(&self, folder: &str) -> Result<PathBuf> {
        let path = self.root.join(folder);
        let real = real(&path).io_at("find", &path)?;
        if real.starts_with(&self.store.root) {
            return Err(Error::input(format!(
                "`export = \"{folder}\"` leads into the store {}",
                self.store.root.display()
            ))
            .help("export to a folder outside of it"));
        }
        // A path that is written so as to lie elsewhere is no surprise.
        if stays_inside(folder) && !real.starts_with(&self.real_root) {
            return Err(Error::input(format!(
                "`export = \"{folder}\"` leads out of the project through a link, to {}",
                real.display()
            ))
            .help("if the files belong there, write that path as `export`"));
        }
        Ok(real)
    }

    /// Places the files of a result of `by` in `folder`. Files that have the right bytes are left alone. Returns how many were
    /// written.
    ///
    /// # Errors
    /// Where one of them would replace what isn't emopipe's, or a blob isn't what its name says. Then none is written.
    pub fn place(&mut self, by: &str, folder: &str, result: &ActionResult) -> Result<usize> {
        let real = self.check(folder)?;
        let path = self.root.join(folder);
        if !self.folders.contains_key(&real) {
            self.folders.insert(real.clone(), Folder::open(folder, &path)?);
        }
        let wanted = self.missing(by, &path, &real, result)?;
        let mut changed = BTreeSet::new();
        for file in &wanted {
            let to = path.join(&file.name);
            let parent = durable::parent(&to);
            if changed.insert(parent.to_owned()) {
                durable::create_folders(parent)?;
                durable::sweep(parent);
            }
            self.copy(file, &to)?;
        }
        if let Some(folder) = self.folders.get_mut(&real) {
            folder.claim(by, result, changed);
        }
        Ok(wanted.len())
    }

    /// The files that aren't in place, if they may all be written.
    fn missing<'o>(
        &mut self,
        by: &str,
        path: &Path,
        base: &Path,
        result: &'o ActionResult,
    ) -> Result<Vec<&'o FileEntry>> {
        let (mut wanted, mut conflicts, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for file in &result.files {
            let to = path.join(&file.name);
            let place =
                if file.name.contains('/') { real_place(&to).io_at("find", &to)? } else { base.join(&file.name) };
            if place.starts_with(&self.store.root) {
                return Err(Error::input(format!("{} would lie in the store", to.display()))
                    .help("export to a folder outside of it"));
            }
            if !place.starts_with(base) {
                return Err(Error::input(format!("{} leads out of its folder through a link", to.display()))
                    .help("remove the link, or export to another folder"));
            }
            if let Some(other) = self.placed.get(&place).filter(|other| *other != by) {
                return Err(Error::input(format!("`{other}` and `{by}` both export {}", to.display()))
                    .help("give one of them another `export`"));
            }
            if !is(&to, file)? {
                if self.kept.contains(&place) {
                    return Err(Error::input(format!("{} is a part of the pipeline and never replaced", to.display()))
                        .help("choose another `export`"));
                }
                let manifest = &self.folders[base].manifest;
                match Conflict::find(self.store, by, manifest, &place, &file.name) {
                    Some(conflict) if !(self.overwrite && conflict.yields()) => conflicts.push((to, conflict)),
                    _ => wanted.push(file),
                }
            }
            places.push(place);
        }
        if !conflicts.is_empty() {
            return Err(in_the_way(&conflicts));
        }
        self.placed.extend(places.into_iter().map(|place| (place, by.to_owned())));
        Ok(wanted)
    }

    /// Copies a blob into the project. A copy, not a hard link: people edit what lies in their project folder, and a link would
    /// let them edit the store. Where the filesystem can, the copy shares its bytes until then.
    fn copy(&self, file: &FileEntry, to: &Path) -> Result<()> {
        let blob = self.store.blob(&file.digest);
        if Digest::of_file(&blob)? != file.digest {
            return Err(Error::environment(format!("the blob of {} is damaged", file.name))
                .help("`emopipe verify --repair` drops it, and the next run computes it again"));
        }
        let mut draft = Draft::new(durable::parent(to))?;
        let mut source = File::open(&blob).io_at("read", &blob)?;
        clone(&mut source, draft.file()).and_then(|()| draft.settle(durable::ORDINARY)).io_at("write", to)?;
        draft.name(to).io_at("write", to)
    }

    /// Ends the exports of a run: writes the manifests. `owner` is the beginning of the names of all its actions. With
    /// `planned`, the folder of each action of the pipeline that exports, what they no longer make is removed first.
    ///
    /// # Errors
    /// Where a manifest can't be read, understood or written, or a file that is no longer made can't be removed.
    pub fn finish(mut self, owner: &str, planned: Option<&BTreeMap<String, String>>) -> Result<Vec<Removed>> {
        let planned = match planned {
            None => None,
            Some(planned) => {
                for folder in self.store.export_folders(&self.real_root, owner)? {
                    self.look_into(&folder)?;
                }
                self.store.note_export_folders(&self.real_root, owner, planned.values().cloned().collect())?;
                let mut known = BTreeMap::new();
                let mut lead = |folder: &'_ String| -> Option<PathBuf> {
                    known.entry(folder.clone()).or_insert_with(|| real(&self.root.join(folder)).ok()).clone()
                };
                let folders = planned.iter().filter_map(|(by, folder)| Some((by.as_str(), lead(folder)?))).collect();
                Some(Planned { owner, folders })
            }
        };
        let mut removed = Vec::new();
        for folder in std::mem::take(&mut self.folders).into_values() {
            let gone = folder.finish(planned.as_ref())?;
            removed.extend(gone.filter(|gone| !gone.files.is_empty() || !gone.left.is_empty()));
        }
        Ok(removed)
    }

    /// Opens a folder that nothing was exported to in this run, if it is there.
    fn look_into(&mut self, folder: &str) -> Result<()> {
        let path = self.root.join(folder);
        if let Some(real) = self.check(folder).ok().filter(|real| real.is_dir() && !self.folders.contains_key(real)) {
            self.folders.insert(real, Folder::open(folder, &path)?);
        }
        Ok(())
    }
}

/// As [`real`], where the end of the path itself isn't followed.
fn real_place(path: &Path) -> io::Result<PathBuf> {
    Ok(real(durable::parent(path))?.join(path.file_name().unwrap_or_default()))
}

/// Whether a path holds these bytes.
fn is(path: &Path, file: &FileEntry) -> Result<bool> {
    match fs::metadata(path) {
        Ok(m) if m.is_file() && m.len() == file.size => Ok(Digest::of_file(path)? == file.digest),
        _ => Ok(false),
    }
}

/// Copies all of a file, sharing bytes where the filesystem can.
fn clone(source: &mut File, to: &mut File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if rustix::fs::ioctl_ficlone(&*to, &*source).is_ok() {
        return Ok(());
    }
    io::copy(source, to).map(drop)
}
