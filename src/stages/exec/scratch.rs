//! The folder in which one attempt of a command has its inputs and its outputs.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::base::error::{IoAt, Result};

const PREFIX: &str = "attempt-";

/// A folder that is removed when dropped, whatever a command has made of it. Links in it are never followed.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A new folder in `work`, where those of attempts that were killed are removed.
    ///
    /// # Errors
    /// If it can't be created.
    pub fn new(work: &Path) -> Result<Self> {
        for entry in fs::read_dir(work).io_at("read", work)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                discard(&entry.path());
            }
        }
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(work).io_at("create a folder in", work)?;
        Ok(Self(folder.keep()))
    }

    /// A new folder in this one.
    ///
    /// # Errors
    /// If it can't be created.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir(&path).io_at("create", &path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        discard(&self.0);
    }
}

/// Removes a folder; what can't be removed is left to `emopipe gc`.
fn discard(folder: &Path) {
    if fs::remove_dir_all(folder).is_err() {
        open_up(folder);
        let _ = fs::remove_dir_all(folder);
    }
}

/// Makes folders writable whose files couldn't be removed otherwise.
fn open_up(folder: &Path) {
    if !fs::symlink_metadata(folder).is_ok_and(|m| m.is_dir()) {
        return;
    }
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        open_up(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_all_that_is_in_it_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "x").unwrap();
        fs::set_permissions(&outside, Permissions::from_mode(0o555)).unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        let scratch = Scratch::new(&work).unwrap();
        let closed = scratch.folder("closed").unwrap();
        fs::write(closed.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, closed.join("link")).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o555)).unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
        assert!(outside.join("precious").exists());
        assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o555);
        fs::set_permissions(&outside, Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn what_killed_attempts_left_goes_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("attempt-1")).unwrap();
        fs::write(dir.path().join("kept"), "").unwrap();
        let _scratch = Scratch::new(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(!dir.path().join("attempt-1").exists());
    }
}
