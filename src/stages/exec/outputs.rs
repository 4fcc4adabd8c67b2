//! What a command wrote: only regular files that lie in its folder, each with an inode that nobody else has.

use std::{
    ffi::OsString,
    fs::{self, Metadata, Permissions},
    io::ErrorKind,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use crate::base::error::{Error, IoAt, Result};

/// The parts of an output's path; None where it isn't one of a file below `{out}`.
pub(super) fn parts(output: &str) -> Option<PathBuf> {
    let normal = |c| matches!(c, Component::Normal(_));
    let is_file = !output.is_empty() && !output.ends_with('/') && !output.contains('\0');
    (is_file && Path::new(output).components().all(normal)).then(|| Path::new(output).components().collect())
}

/// Moves the declared outputs from the command's folder to `to`. What isn't declared stays behind.
///
/// # Errors
/// If one isn't there, or isn't a file of this folder alone.
pub(super) fn take(outputs: &[String], from: &Path, to: &Path) -> Result<()> {
    for output in outputs {
        let below = parts(output).ok_or_else(|| Error::internal(format!("the output `{output}` leaves its folder")))?;
        let file = find(output, &below, from)?;
        let target = to.join(&below);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).io_at("create", parent)?;
        }
        take_file(&file, &from.join(&below), &target)?;
    }
    Ok(())
}

/// Follows no link: each folder on the way must be one, and the file, too.
fn find(output: &str, below: &Path, from: &Path) -> Result<Metadata> {
    let mut path = from.to_owned();
    let mut names: Vec<OsString> = vec![OsString::new()];
    names.extend(below.iter().map(OsString::from));
    let last = names.len() - 1;
    for (i, name) in names.iter().enumerate() {
        if i > 0 {
            path.push(name);
        }
        let place = path.strip_prefix(from).unwrap_or(&path).display().to_string();
        let place = if place.is_empty() { "{out}".to_owned() } else { place };
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(not_written(output)),
            Err(e) => return Err(Error::io("read", &path, &e)),
            Ok(m) if i == last && m.is_file() => return Ok(m),
            Ok(m) if i < last && m.is_dir() => {}
            Ok(m) => {
                let wanted = if i == last { "a file" } else { "a folder" };
                return Err(Error::input(format!(
                    "the command ended well, but `{place}` is {}, where the output `{output}` needs {wanted}",
                    what(&m)
                ))
                .help(if m.is_symlink() {
                    "links aren't followed, so that nothing outside of the output is touched; write a copy instead"
                } else {
                    "outputs are regular files, each named in `outputs`"
                }));
            }
        }
    }
    Err(not_written(output))
}

fn not_written(output: &str) -> Error {
    Error::input(format!("the command ended well but didn't write `{output}`"))
        .help("write it below the folder that `{out}` stands for, or take it out of `outputs`")
}

fn what(m: &Metadata) -> &'static str {
    let kind = m.file_type();
    match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_block_device() || kind.is_char_device() => "a device",
        () => "a file",
    }
}

/// A file with several names may be the user's under another one, and one of another owner can't be made read-only: both are
/// copied, and stay what they were.
fn take_file(file: &Metadata, from: &Path, to: &Path) -> Result<()> {
    let ours = file.nlink() == 1 && file.uid() == rustix::process::geteuid().as_raw();
    if !ours || fs::rename(from, to).is_err() {
        reflink_copy::reflink_or_copy(from, to).io_at("copy an output to", to)?;
    }
    // Never more than its owner, group and others may; and the store has to read it.
    let mode = file.mode() & 0o777 | 0o600;
    fs::set_permissions(to, Permissions::from_mode(mode)).io_at("set the permissions of", to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_stay_in_their_folder() {
        for good in ["a", "a/b.txt", "..a", "a//b", "a/./b"] {
            assert!(parts(good).is_some(), "{good}");
        }
        for bad in ["", "/a", "../a", "a/../b", ".", "a/", "a\0b"] {
            assert!(parts(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_file_with_another_name_elsewhere_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["from", "to"] {
            fs::create_dir(at(folder)).unwrap();
        }
        fs::write(at("mine"), "x").unwrap();
        fs::set_permissions(at("mine"), Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(at("mine"), at("from/a")).unwrap();
        fs::write(at("from/b"), "y").unwrap();
        let inode = |name: &str| fs::metadata(at(name)).unwrap().ino();
        let moved = inode("from/b");
        take(&["a".to_owned(), "b".to_owned()], &at("from"), &at("to")).unwrap();
        assert_ne!(inode("to/a"), inode("mine"));
        assert_eq!(inode("to/b"), moved);
        assert_eq!(fs::metadata(at("mine")).unwrap().mode() & 0o777, 0o640);
    }
}
