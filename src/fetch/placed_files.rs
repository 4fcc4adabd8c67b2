//! Files that were fetched: what they are, and how they get to their place.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use sha2::Digest as _;

use super::{Fetched, Source, source::Sha256};
use crate::base::{
    digest::Digest,
    error::{IoAt, Result},
};

pub(super) fn measure(path: &Path) -> Result<Fetched> {
    let size = fs::metadata(path).io_at("read", path)?.len();
    Ok(Fetched { digest: Digest::of_file(path)?, size })
}

/// The difference between what is pinned and what came, as two lines; none where all that is pinned agrees.
pub(super) fn mismatch(source: &Source, path: &Path, came: Fetched) -> Result<Option<String>> {
    let mut pairs = Vec::new();
    if let Some(pin) = source.blake3 {
        pairs.push((format!("BLAKE3 {pin}"), format!("BLAKE3 {}", came.digest)));
    }
    if let Some(pin) = source.sha256 {
        pairs.push((format!("SHA-256 {pin}"), format!("SHA-256 {}", sha256(path)?)));
    }
    if let Some(size) = source.size {
        pairs.push((format!("{size} bytes"), format!("{} bytes", came.size)));
    }
    if pairs.iter().all(|(pinned, received)| pinned == received) {
        return Ok(None);
    }
    let (pinned, received): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    Ok(Some(format!("  pinned   {}\n  received {}", pinned.join(", "), received.join(", "))))
}

/// Whether a file is a web page, going by its beginning.
pub(super) fn is_web_page(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    fs::File::open(path).io_at("open", path)?.take(512).read_to_end(&mut start).io_at("read", path)?;
    let text = String::from_utf8_lossy(&start).to_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    Ok(["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| text.starts_with(tag)))
}

/// Moves a file into place; by copying where the folders are on different filesystems.
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

/// The SHA-256 of a file.
///
/// # Errors
/// A file that can't be read.
pub fn sha256(path: &Path) -> Result<Sha256> {
    let mut file = fs::File::open(path).io_at("open", path)?;
    let mut hasher = sha2::Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block).io_at("read", path)? {
            0 => break,
            n => hasher.update(&block[..n]),
        }
    }
    Ok(Sha256(hasher.finalize().into()))
}
