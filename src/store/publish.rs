//! How a folder of files becomes a result.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use super::{
    action_result::{Acceptance, ActionResult},
    file_entry::FileEntry,
    names,
    open_store::Store,
};
use crate::base::digest::Digest;
use crate::base::{
    durable::{self, Draft},
    error::{Error, IoAt, Result},
    failpoint,
};

/// A description that is on disk and has no name yet.
struct Description {
    draft: Draft,
    place: PathBuf,
}

impl Store {
    /// Makes the files under `folder` an action's result. The folder is emptied.
    ///
    /// # Errors
    /// An output that is neither file nor folder or whose name can't be kept; a file, the description or the index that
    /// can't be written.
    pub fn publish(
        &self,
        key: Digest,
        action: &str,
        folder: &Path,
        preimage: &serde_json::Value,
    ) -> Result<ActionResult> {
        let files = files_below(folder)?;
        let mut changed = BTreeSet::new();
        let seal = |(name, path): (String, PathBuf)| {
            let digest = Digest::of_file(&path)?;
            let size = self.seal(&path)?;
            Ok((FileEntry { name, digest, size }, path))
        };
        // What is put on disk at once costs hardly more than one file.
        let (sealed, described) = rayon::join(
            || files.into_par_iter().map(seal).collect::<Result<Vec<_>>>(),
            || self.describe(&key, preimage),
        );
        let (sealed, described) = (sealed?, described?);
        for (file, path) in &sealed {
            self.move_in(path, &file.digest, &mut changed)?;
        }
        let result = ActionResult::new(sealed.into_iter().map(|(file, _)| file).collect());
        self.show(key, action, &result, described, changed)?;
        Ok(result)
    }

    /// Makes a listing, all of whose blobs are in the store, the result of an action.
    ///
    /// # Errors
    /// Where the description or the index can't be written.
    pub fn record(&self, key: Digest, action: &str, result: &ActionResult, preimage: &serde_json::Value) -> Result<()> {
        self.show(key, action, result, self.describe(&key, preimage)?, BTreeSet::new())
    }

    /// Lets `result`, a result of the key `acceptance.from`, stand for `key`, which is described by `record`.
    ///
    /// # Errors
    /// Where the description or the index can't be written.
    pub fn accept(
        &self,
        key: Digest,
        action: &str,
        result: &ActionResult,
        acceptance: Acceptance,
        record: &serde_json::Value,
    ) -> Result<()> {
        self.write_description(&key, record)?;
        self.index().append_acceptance(key, action, result, acceptance)
    }

    /// Writes the description of a key, such as one that was lost.
    ///
    /// # Errors
    /// Where it can't be written and synced.
    pub fn write_description(&self, key: &Digest, record: &serde_json::Value) -> Result<()> {
        let described = self.describe(key, record)?;
        let mut changed = BTreeSet::new();
        self.name_description(described, &mut changed)?;
        durable::sync_folders(&changed)
    }

    /// What the files under `folder` would be called as an artifact.
    ///
    /// # Errors
    /// An output that is neither file nor folder, whose name can't be kept, or that can't be read.
    pub fn listing(&self, folder: &Path) -> Result<ActionResult> {
        let mut files = Vec::new();
        for (name, path) in files_below(folder)? {
            let size = fs::metadata(&path).io_at("read", &path)?.len();
            files.push(FileEntry { name, digest: Digest::of_file(&path)?, size });
        }
        Ok(ActionResult::new(files))
    }

    /// Names the description and shows the result, once all that it names is on disk. `changed` are folders that got names.
    fn show(
        &self,
        key: Digest,
        action: &str,
        result: &ActionResult,
        described: Description,
        mut changed: BTreeSet<PathBuf>,
    ) -> Result<()> {
        self.name_description(described, &mut changed)?;
        durable::sync_folders(&changed)?;
        failpoint::at("record");
        self.index().append(key, action, result)
    }

    fn describe(&self, key: &Digest, record: &serde_json::Value) -> Result<Description> {
        let place = self.preimage_path(key);
        // Not in the folder where it will lie, which may not be there yet.
        let mut draft = Draft::new(&self.root.join("actions"))?;
        let text = serde_json::to_vec_pretty(record)?;
        draft.file().write_all(&text).and_then(|()| draft.settle(self.modes.file)).io_at("write", &place)?;
        Ok(Description { draft, place })
    }

    fn name_description(&self, described: Description, changed: &mut BTreeSet<PathBuf>) -> Result<()> {
        let Description { draft, place } = described;
        self.make_room(&place, changed)?;
        draft.name(&place).io_at("write", &place)
    }

    /// Makes the folder of a blob or a description, and notes what is to be synced.
    ///
    /// # Errors
    /// Where the folder can't be made, or what lies in the file's place can't be removed.
    pub(super) fn make_room(&self, place: &Path, changed: &mut BTreeSet<PathBuf>) -> Result<()> {
        let folder = durable::parent(place);
        self.modes.create_folder(folder)?;
        // Also where another process made it a moment ago: that one may not have got round to its sync yet.
        changed.extend([durable::parent(folder).to_owned(), folder.to_owned()]);
        if place.is_dir() {
            // Nothing of ours: a file belongs there.
            durable::remove(place)?;
        }
        Ok(())
    }
}

/// Relative names (with `/`) and paths of the regular files below `folder`, sorted by name.
fn files_below(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    fn walk(dir: &Path, prefix: &str, out: &mut Vec<(String, PathBuf)>) -> Result<()> {
        for entry in fs::read_dir(dir).io_at("read", dir)? {
            let entry = entry.io_at("read", dir)?;
            let path = entry.path();
            let name = entry.file_name().into_string().map_err(|n| {
                Error::input(format!("the file name {} is not UTF-8", n.display())).help("give the output another name")
            })?;
            let name = format!("{prefix}{name}");
            if let Some(why) = names::why_impossible(&name) {
                return Err(
                    Error::input(format!("an output can't be called {name:?}: {why}")).help("give it another name")
                );
            }
            let kind = entry.file_type().io_at("read", &path)?;
            if kind.is_dir() {
                walk(&path, &format!("{name}/"), out)?;
            } else if kind.is_file() {
                out.push((name, path));
            } else {
                return Err(Error::input(format!("the output {name} is neither a file nor a folder"))
                    .help("links and special files can't be kept in the store; write a copy instead"));
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    walk(folder, "", &mut out)?;
    out.sort();
    Ok(out)
}
