//! Which results this store still owes to a remote store. A mark is set before an action starts and taken away when its
//! result has been sent, so that a crash in between, or a remote that was away, is made up for by a later run.

use std::{collections::HashSet, fs, io::ErrorKind};

use super::{folders::PENDING_PUSH, open_store::Store};
use crate::base::digest::Digest;
use crate::base::{
    durable,
    error::{Error, IoAt, Result},
};

impl Store {
    /// Keys that are marked; some may have no result.
    ///
    /// # Errors
    /// Where the folder of marks can't be listed.
    pub fn pending_pushes(&self) -> Result<HashSet<Digest>> {
        let folder = self.root.join(PENDING_PUSH);
        match fs::read_dir(&folder) {
            Ok(entries) => Ok(entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(HashSet::new()),
            Err(e) => Err(Error::io("read", &folder, &e)),
        }
    }

    /// Marks that the result of `key`, once it is there, is to be sent.
    ///
    /// # Errors
    /// Where the mark can't be written and synced.
    pub fn mark_pending_push(&self, key: &Digest) -> Result<()> {
        let folder = self.root.join(PENDING_PUSH);
        self.modes.create_folder(&folder)?;
        let mark = folder.join(key.to_string());
        if !mark.exists() {
            fs::write(&mark, "").io_at("write", &mark)?;
        }
        // Else a power failure could leave the result and take the mark, whichever process made it.
        durable::sync_folders(&[self.root.clone(), folder])
    }

    /// Takes the mark away: the result has been sent.
    ///
    /// # Errors
    /// Where there is a mark that can't be removed.
    pub fn clear_pending_push(&self, key: &Digest) -> Result<()> {
        let mark = self.root.join(PENDING_PUSH).join(key.to_string());
        durable::remove(&mark)
    }
}
