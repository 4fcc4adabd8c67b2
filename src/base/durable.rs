//! Writes that neither a kill nor a power failure can tear: a file has its old content or the new one.
//!
//! A new content is written under a temporary name beside its place, synced, and renamed; then the folder is synced, since a
//! name is on disk only when its folder is. Folders that are made are synced with the one above them. Whoever writes much
//! does these steps for all files at once, in this order; [`replace`] does them for one.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rayon::prelude::*;

use super::{
    error::{Error, IoAt, Result},
    locks::Locks,
};

/// How temporary files are called that a dead process may leave behind; six letters and digits follow.
pub const TEMPORARY: &str = ".emopipe-";

/// Where nobody can tell whether its writer lives, a temporary file is left alone for this long.
const ABANDONED: Duration = Duration::from_hours(24);

/// A file under a temporary name, removed when dropped. It is locked, so that [`sweep`] can tell that its writer lives.
#[derive(Debug)]
pub struct Draft(tempfile::NamedTempFile);

impl Draft {
    /// An empty draft in `folder`, which must be there.
    ///
    /// # Errors
    /// Where no file can be made in `folder`, or its lock can't be asked for.
    pub fn new(folder: &Path) -> Result<Self> {
        loop {
            let file =
                tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder).io_at("create a file in", folder)?;
            // Without locks nobody sweeps by them either.
            Locks::from_env().wait(file.as_file(), file.path())?;
            // Somebody may have swept it before it was locked.
            if file.as_file().metadata().io_at("read", file.path())?.nlink() > 0 {
                return Ok(Self(file));
            }
        }
    }

    pub fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    /// Puts what was written, with these permissions, on disk. It has no name yet.
    ///
    /// # Errors
    /// Where the permissions can't be set, or the disk doesn't take the bytes.
    pub fn settle(&self, mode: u32) -> io::Result<()> {
        set_mode(self.0.path(), mode)?;
        self.0.as_file().sync_all()
    }

    /// Gives a settled draft its name. The name is on disk when its folder is synced.
    ///
    /// # Errors
    /// Where the file can't be renamed to `place`; the draft is then removed.
    pub fn name(self, place: &Path) -> io::Result<()> {
        self.0.persist(place).map(drop).map_err(|e| e.error)
    }
}

/// Writes a file as a whole or not at all, also if the power fails. Its folder is made where there is none.
///
/// # Errors
/// Where the folder can't be made, `write` fails, or the new content can't be put on disk under its name.
pub fn replace(place: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let folder = parent(place);
    create_folders(folder)?;
    let mut draft = Draft::new(folder)?;
    write(draft.file()).and_then(|()| draft.settle(mode)).io_at("write", place)?;
    draft.name(place).io_at("write", place)?;
    sync_folder(folder)
}

/// As [`replace`], for a file of the user: a link stays one, permissions stay, and leftovers beside it are swept.
///
/// # Errors
/// As [`replace`], and where the path can't be followed to a file.
pub fn edit(place: &Path, bytes: &[u8]) -> Result<()> {
    let real = match place.canonicalize() {
        Ok(real) => real,
        Err(e) if e.kind() == ErrorKind::NotFound => place.to_owned(),
        Err(e) => return Err(Error::io("write", place, &e)),
    };
    sweep(parent(&real));
    let mode = mode(&real).unwrap_or(ORDINARY);
    replace(&real, mode, |file| io::Write::write_all(file, bytes))
}

/// The permissions that new files usually have.
pub const ORDINARY: u32 = 0o644;

/// Makes a folder and those above it, and puts what was made on disk.
///
/// # Errors
/// Where a folder can't be made, for example because a file has its name, or can't be synced.
pub fn create_folders(folder: &Path) -> Result<()> {
    let mut missing: Vec<&Path> = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.is_dir()).collect();
    while let Some(folder) = missing.pop() {
        match fs::create_dir(folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists || !folder.is_dir() => {
                return Err(Error::io("create", folder, &e));
            }
            _ => sync_folder(parent(folder))?,
        }
    }
    Ok(())
}

/// Puts the names in a folder on disk.
///
/// # Errors
/// Where the folder can't be opened or the disk fails. That a filesystem can't sync folders is none.
pub fn sync_folder(folder: &Path) -> Result<()> {
    match File::open(folder).and_then(|f| f.sync_all()) {
        // Some filesystems can't sync folders.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        done => done.io_at("sync", folder),
    }
}

/// As [`sync_folder`], for many: a filesystem puts what is asked for at once on disk together.
///
/// # Errors
/// As [`sync_folder`], of any of them.
pub fn sync_folders<'a>(folders: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    let folders: Vec<&PathBuf> = folders.into_iter().collect();
    folders.into_par_iter().try_for_each(|folder| sync_folder(folder))
}

/// Puts a file's content on disk.
///
/// # Errors
/// Where the file can't be opened, or the disk fails.
pub fn sync_file(file: &Path) -> Result<()> {
    File::open(file).and_then(|f| f.sync_all()).io_at("sync", file)
}

/// Removes whatever lies at a place, if anything: a file, a link (not what it leads to), or a folder with all below.
///
/// # Errors
/// Where something is there and can't be removed.
pub fn remove(place: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(place) {
        Ok(m) if m.is_dir() => fs::remove_dir_all(place),
        Ok(_) => fs::remove_file(place),
        Err(e) => Err(e),
    };
    match removed {
        // A file where a folder should be has nothing below it.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        done => done.io_at("remove", place),
    }
}

/// Removes temporary files whose writers died. What can't be removed stays.
pub fn sweep(folder: &Path) {
    let locks = Locks::from_env();
    for path in temporary(folder) {
        if let Some(_held) = abandoned(&path, locks) {
            // If it stays, the next one tries again.
            let _ = remove(&path);
        }
    }
}

/// Temporary files in a folder whose writers died.
pub fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let locks = Locks::from_env();
    temporary(folder).into_iter().filter(|path| abandoned(path, locks).is_some()).collect()
}

fn temporary(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_temporary(path)).collect()
}

/// Something whose writer died, with its lock where there is one: whoever holds it may remove it, since a writer that comes to
/// its new file only now waits, and then sees that the file is gone.
fn abandoned(path: &Path, locks: Locks) -> Option<Option<File>> {
    match fs::symlink_metadata(path) {
        Ok(m) if m.is_file() => {
            let held = File::open(path).ok().filter(|file| locks.is_free(file));
            let old = || m.modified().is_ok_and(|t| SystemTime::now().duration_since(t).is_ok_and(|d| d > ABANDONED));
            (held.is_some() || old()).then_some(held)
        }
        // Earlier versions kept a copy in a folder.
        Ok(m) if m.is_dir() => fs::read_dir(path)
            .is_ok_and(|mut all| all.all(|e| e.is_ok_and(|e| e.file_name() == "copy")))
            .then_some(None),
        _ => None,
    }
}

/// Whether a path is called as drafts are.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(TEMPORARY));
    name.is_some_and(|rest| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The permissions of a file or folder, if there is one.
pub fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).ok().map(|m| m.permissions().mode() & 0o7777)
}

/// Sets the permissions of a file or folder.
///
/// # Errors
/// Where there is nothing at `path`, or somebody else owns it.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// The folder that a path lies in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &'static str) -> impl FnOnce(&mut File) -> io::Result<()> {
        move |file| io::Write::write_all(file, text.as_bytes())
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a/b/x");
        replace(&place, 0o640, write("old")).unwrap();
        assert_eq!(mode(&place), Some(0o640));
        let failed = replace(&place, 0o640, |file| {
            io::Write::write_all(file, b"ne")?;
            Err(ErrorKind::StorageFull.into())
        });
        assert!(failed.unwrap_err().help.unwrap().contains("free some space"));
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        assert_eq!(fs::read_dir(parent(&place)).unwrap().count(), 1);
    }

    #[test]
    fn an_edit_keeps_links_and_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        edit(&real, b"1").unwrap();
        set_mode(&real, 0o600).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        edit(&link, b"2").unwrap();
        assert_eq!((fs::read_to_string(&real).unwrap().as_str(), mode(&real)), ("2", Some(0o600)));
        assert!(link.is_symlink());
    }

    #[test]
    fn only_drafts_of_the_dead_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let alive = Draft::new(dir.path()).unwrap();
        for name in [".emopipe-abc123", ".emopipe-notes.txt", ".emopipe.toml", "x"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join(".emopipe-folder")).unwrap();
        fs::write(dir.path().join(".emopipe-folder/notes"), "").unwrap();
        assert_eq!(leftovers(dir.path()), [dir.path().join(".emopipe-abc123")]);
        sweep(dir.path());
        assert!(alive.0.path().exists() && dir.path().join(".emopipe-notes.txt").exists());
        drop(alive);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }
}
