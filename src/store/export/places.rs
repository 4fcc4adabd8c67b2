//! Where paths lead.

use std::{
    io::{self, ErrorKind},
    path::{Component, Path, PathBuf},
};

/// Whether a path, as it is written, leads below its beginning.
pub(super) fn stays_inside(path: &str) -> bool {
    let mut depth = 0_i32;
    Path::new(path).components().all(|component| {
        depth += match component {
            Component::Normal(_) => 1,
            Component::CurDir => 0,
            Component::ParentDir => -1,
            Component::RootDir | Component::Prefix(_) => i32::MIN / 2,
        };
        depth >= 0
    })
}

/// Where a path leads when links are followed, also where its end isn't there yet.
///
/// # Errors
/// A link that leads nowhere, or a part of the path that may not be looked at.
pub(super) fn real(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut rest = Vec::new();
    for place in absolute.ancestors() {
        match place.canonicalize() {
            Ok(real) => return Ok(normal(rest.iter().rev().fold(real, |path: PathBuf, part| path.join(part)))),
            // A link that leads nowhere leads out of everything.
            Err(e) if e.kind() == ErrorKind::NotFound && !place.is_symlink() => {
                rest.extend(place.components().next_back().map(|part| part.as_os_str().to_owned()));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(absolute)
}

/// A path without `.` and `..`, as if nothing on it were a link.
fn normal(path: PathBuf) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_says_whether_it_stays_inside() {
        for path in ["a", "./a", "a/../b", "a/b/..", "."] {
            assert!(stays_inside(path), "{path}");
        }
        for path in ["..", "../a", "a/../../b", "/a", "a/../../a/b"] {
            assert!(!stays_inside(path), "{path}");
        }
    }

    #[test]
    fn links_are_followed_also_below_what_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("real/deep")).unwrap();
        std::os::unix::fs::symlink("real/deep", base.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", base.join("dangling")).unwrap();
        assert_eq!(real(&base.join("link/new/../x")).unwrap(), base.join("real/deep/x"));
        assert_eq!(real(&base.join("link/..")).unwrap(), base.join("real"));
        assert!(real(&base.join("dangling/x")).is_err());
    }
}
