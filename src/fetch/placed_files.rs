//! How files get to their place.

use std::{fs, io, path::Path};

use crate::base::error::{IoAt, Result};

/// Moves a file into place; by copying where the folders are on different filesystems.
///
/// # Errors
/// Where the file can't be moved, nor copied and removed.
pub(super) fn place(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            copy_bytes(from, to)?;
            fs::remove_file(from).io_at("remove", from)
        }
        other => other.io_at("create", to),
    }
}

/// Without the permissions, so that a copy of a read-only file can be replaced and removed.
///
/// # Errors
/// Where the one can't be read, or the other can't be written.
pub(super) fn copy_bytes(from: &Path, to: &Path) -> Result<()> {
    let mut original = fs::File::open(from).io_at("open", from)?;
    let mut copy = fs::File::create(to).io_at("create", to)?;
    io::copy(&mut original, &mut copy).io_at("write", to)?;
    Ok(())
}

/// Sorted names of the files in a folder; none where it can't be read.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}
