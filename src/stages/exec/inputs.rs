//! What a command reads: copies of its inputs, so that nothing that it does to them reaches the store.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    base::{
        digest::Digest,
        error::{Error, IoAt, Result},
    },
    engine::{Artifact, Context},
};

/// The inputs of a command, in its folder.
pub(super) struct Inputs {
    /// Where each role is: a folder, or the only file.
    pub places: BTreeMap<String, PathBuf>,
    copies: Vec<Copied>,
}

struct Copied {
    role: String,
    name: String,
    blob: PathBuf,
    path: PathBuf,
    stamp: Stamp,
}

/// What the filesystem changes when somebody writes to a file.
type Stamp = (u64, u64, (i64, i64), (i64, i64));

impl Inputs {
    /// Places the files of each role in `folder`: directly where the role has one artifact, else in one numbered folder each.
    ///
    /// # Errors
    /// If a file can't be copied.
    pub fn place(cx: &Context, folder: &Path) -> Result<Self> {
        let mut inputs = Self { places: BTreeMap::new(), copies: Vec::new() };
        for (role, artifacts) in &cx.job.inputs {
            let place = inputs.place_role(role, artifacts, &folder.join(role))?;
            inputs.places.insert(role.clone(), place);
        }
        Ok(inputs)
    }

    fn place_role(&mut self, role: &str, artifacts: &[Artifact], folder: &Path) -> Result<PathBuf> {
        let before = self.copies.len();
        for (i, artifact) in artifacts.iter().enumerate() {
            let base = if artifacts.len() == 1 { folder.to_owned() } else { folder.join(i.to_string()) };
            for (name, blob) in &artifact.files {
                let path = base.join(name);
                let stamp = copy(blob, &path)?;
                let (role, name, blob) = (role.to_owned(), name.clone(), blob.clone());
                self.copies.push(Copied { role, name, blob, path, stamp });
            }
        }
        Ok(match &self.copies[before..] {
            [only] => only.path.clone(),
            _ => folder.to_owned(),
        })
    }

    /// Fails where the command has written to one of its inputs: started again, it would compute from something else. It may
    /// take its copies away.
    ///
    /// # Errors
    /// The first input with other bytes than it was given.
    pub fn check_unchanged(&self) -> Result<()> {
        for Copied { role, name, blob, path, stamp: before } in &self.copies {
            match fs::symlink_metadata(path) {
                Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
                Ok(m) if stamp(&m) == *before || m.is_file() && same(path, blob)? => {}
                _ => {
                    return Err(Error::input(format!("the command changed its input `{role}` (`{name}`) in place"))
                        .help("let it write to a copy below `{out}`; the store has kept the input as it was"));
                }
            }
        }
        Ok(())
    }
}

fn same(a: &Path, b: &Path) -> Result<bool> {
    Ok(Digest::of_file(a)? == Digest::of_file(b)?)
}

/// A file of its own with the blob's bytes, times and permissions. Where the filesystem can, it shares its bytes with the
/// blob until somebody writes.
fn copy(blob: &Path, to: &Path) -> Result<Stamp> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).io_at("create", parent)?;
    }
    reflink_copy::reflink_or_copy(blob, to).io_at("copy to", to)?;
    let original = fs::metadata(blob).io_at("read", blob)?;
    fs::set_permissions(to, original.permissions()).io_at("make read-only", to)?;
    if let (Ok(time), Ok(file)) = (original.modified(), File::open(to)) {
        // As old as the blob, so that a write in the instant after this has another time.
        let _ = file.set_modified(time);
    }
    Ok(stamp(&fs::metadata(to).io_at("read", to)?))
}

fn stamp(m: &fs::Metadata) -> Stamp {
    (m.ino(), m.size(), (m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec()))
}
