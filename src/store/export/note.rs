//! Which folders of a project a pipeline last exported to, so that those are found from which it has moved away.

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::base::{
    durable,
    error::{Error, Result},
};
use crate::{base::digest::Digest, store::open_store::Store};

impl Store {
    /// The folders that `owner` last exported to from `root`.
    ///
    /// # Errors
    /// Where there is a note that can't be read.
    pub(super) fn export_folders(&self, root: &Path, owner: &str) -> Result<BTreeSet<String>> {
        let path = self.export_note(root, owner);
        match fs::read(&path) {
            // What a power failure took only means that less is tidied.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(e) => Err(Error::io("read", &path, &e)),
        }
    }

    /// Notes them for the next run.
    ///
    /// # Errors
    /// Where the earlier note can't be read, or the new one can't be written.
    pub(super) fn note_export_folders(&self, root: &Path, owner: &str, folders: BTreeSet<String>) -> Result<()> {
        if folders == self.export_folders(root, owner)? {
            return Ok(());
        }
        let note = self.export_note(root, owner);
        self.modes.create_folder(durable::parent(&note))?;
        let text = serde_json::to_vec(&folders)?;
        durable::replace(&note, self.modes.file, |file| file.write_all(&text))
    }

    fn export_note(&self, root: &Path, owner: &str) -> PathBuf {
        let whose = Digest::of(format!("{}\0{owner}", root.display()).as_bytes());
        self.root.join("exports").join(whose.to_string())
    }
}
