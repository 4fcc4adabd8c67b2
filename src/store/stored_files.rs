//! What lies in the folders of a store.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::base::{
    digest::Digest,
    error::{IoAt, Result},
};

/// Digest (as the name says), path and size of everything in `blobs`, sorted.
///
/// # Errors
/// Where a folder can't be listed. That there is none is none.
pub(super) fn blob_files(root: &Path) -> Result<Vec<(Digest, PathBuf, u64)>> {
    let found = named_by_digest(&root.join("blobs"), "")?;
    Ok(found
        .into_iter()
        .map(|(digest, path)| (digest, size_below(&path), path))
        .map(|(d, size, p)| (d, p, size))
        .collect())
}

/// What lies in the folders below `base` and is called by the rest of a digest and `ending`. What has no such name isn't ours
/// to judge.
///
/// # Errors
/// Where a folder can't be listed. That there is none is none.
pub(super) fn named_by_digest(base: &Path, ending: &str) -> Result<Vec<(Digest, PathBuf)>> {
    let mut found = Vec::new();
    for shard in entries(base)?.into_iter().filter(|shard| shard.is_dir()) {
        for path in entries(&shard)? {
            let digest = name(&path).strip_suffix(ending).map(|rest| format!("{}{rest}", name(&shard)));
            if let Some(Ok(digest)) = digest.map(|text| text.parse()) {
                found.push((digest, path));
            }
        }
    }
    Ok(found)
}

/// What lies in a folder, sorted; nothing where there is none.
///
/// # Errors
/// Where there is a folder that can't be listed.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let all = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(out),
        all => all.io_at("read", dir)?,
    };
    for entry in all {
        out.push(entry.io_at("read", dir)?.path());
    }
    out.sort();
    Ok(out)
}

pub(super) fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Bytes of all files below a folder, or of a file. Links below it aren't followed.
pub(super) fn size_below(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => {
            entries(path).map_or(0, |all| all.iter().map(|p| size_below(p)).fold(0, u64::saturating_add))
        }
        Ok(m) if m.is_file() => m.len(),
        _ => 0,
    }
}

/// Milliseconds since 1970; 0 where there is no such file.
pub(super) fn modified(path: &Path) -> u64 {
    let time = fs::metadata(path).and_then(|m| m.modified()).ok();
    time.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_millis() as u64)
}

pub(super) fn newest_below(path: &Path) -> u64 {
    let below = if path.is_dir() && !path.is_symlink() { entries(path).unwrap_or_default() } else { Vec::new() };
    below.iter().map(|p| newest_below(p)).max().unwrap_or(0).max(modified(path))
}
