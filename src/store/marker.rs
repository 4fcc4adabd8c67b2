//! What makes a folder a store: a file that says so. Nothing is ever removed from a folder that isn't one.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::Path,
};

use super::{
    folders::{FOLDERS, IN_USE, INDEX, Modes},
    index_line::is_index,
};
use crate::base::{
    durable,
    error::{Error, IoAt, Result},
};

/// The file that marks a store.
pub(super) const MARKER: &str = "emopipe.store";
const FIRST_LINE: &str = "emopipe store, layout ";
const LAYOUT: &str = "1";
const EXPLANATION: &str =
    "emopipe made this folder and removes what it no longer needs from it. Keep nothing else here.\n";

/// What a folder is, going by its content.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Marked,
    /// Made before stores were marked.
    Older,
    /// Nothing in it would be mistaken for a part of a store.
    Free,
    Foreign,
}

/// Makes `root` a store if it isn't one.
///
/// # Errors
/// Where it holds something that isn't a store's under the name of a part of one, or the store is of a later version.
pub(super) fn make(root: &Path) -> Result<()> {
    if root.exists() && !root.is_dir() {
        return Err(Error::environment(format!("can't create the store's folder {}: it is a file", root.display()))
            .help("move it away, or name another store with `--store DIR` or EMOPIPE_STORE"));
    }
    match kind(root)? {
        Kind::Marked => return Ok(()),
        Kind::Older | Kind::Free => {}
        // Another process may have made the store between two looks: it marks it first.
        Kind::Foreign if kind(root)? == Kind::Marked => return Ok(()),
        Kind::Foreign => {
            return Err(foreign(root).help("name an empty folder, or one that isn't there yet, with `--store DIR`"));
        }
    }
    durable::create_folders(root)?;
    let text = format!("{FIRST_LINE}{LAYOUT}\n{EXPLANATION}");
    durable::replace(&root.join(MARKER), Modes::of(root).file, |file| file.write_all(text.as_bytes()))
}

/// Sees to it that there is a store in `root`.
///
/// # Errors
/// Where there is none.
pub(super) fn require(root: &Path) -> Result<()> {
    if !root.is_dir() {
        return Err(Error::input(format!("there is no store in {}", root.display())).help("name it with `--store DIR`"));
    }
    match kind(root)? {
        Kind::Marked | Kind::Older => Ok(()),
        Kind::Free | Kind::Foreign => Err(foreign(root)
            .help(format!("a store has a file `{MARKER}`; name one with `--store DIR`. Nothing was read or removed"))),
    }
}

fn foreign(root: &Path) -> Error {
    Error::input(format!("{} isn't a store of emopipe", root.display()))
}

fn kind(root: &Path) -> Result<Kind> {
    let marker = root.join(MARKER);
    match fs::read_to_string(&marker) {
        Ok(text) => match text.lines().next().and_then(|line| line.strip_prefix(FIRST_LINE)) {
            Some(LAYOUT) => return Ok(Kind::Marked),
            Some(layout) => {
                return Err(Error::input(format!("the store {} has layout {layout}, not {LAYOUT}", root.display()))
                    .help(
                        "a later version of emopipe made it; use that one, or name another store with `--store DIR`",
                    ));
            }
            // What a power failure left of it: go by the rest.
            None => {}
        },
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidData) => {}
        Err(e) => return Err(Error::io("read", &marker, &e)),
    }
    let names: Vec<String> = match fs::read_dir(root) {
        Ok(entries) => entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Kind::Free),
        Err(e) => return Err(e).io_at("read", root),
    };
    let has = |name: &str| names.iter().any(|n| n == name);
    if !FOLDERS.iter().any(|folder| has(folder)) && !has(INDEX) {
        return Ok(Kind::Free);
    }
    let older = has("blobs") && (is_index(&root.join(INDEX)) || FOLDERS.iter().all(|f| has(f)) && has(IN_USE));
    Ok(if older { Kind::Older } else { Kind::Foreign })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_things_under_a_stores_names_is_never_made_one() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("home");
        for (name, expected) in
            [("README.md", Kind::Free), ("tmp/thesis.txt", Kind::Foreign), ("blobs/x", Kind::Foreign)]
        {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
            assert_eq!(kind(&root).unwrap(), expected, "{name}");
        }
        assert!(make(&root).unwrap_err().message.contains("isn't a store"));
        assert!(require(&root).unwrap_err().message.contains("isn't a store"));
        assert!(require(&dir.path().join("none")).unwrap_err().message.contains("there is no store"));
        assert!(!root.join(MARKER).exists());
    }

    #[test]
    fn a_store_of_a_later_layout_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path()).unwrap();
        require(dir.path()).unwrap();
        fs::write(dir.path().join(MARKER), "emopipe store, layout 2\n").unwrap();
        for refused in [make(dir.path()), require(dir.path())] {
            assert!(refused.unwrap_err().help.unwrap().contains("later version"));
        }
    }

    #[test]
    fn stores_from_before_there_was_a_marker_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cache");
        drop(crate::store::Store::open(&root).unwrap());
        for marker in [None, Some(""), Some("\0\0")] {
            fs::remove_file(root.join(MARKER)).unwrap();
            if let Some(torn) = marker {
                fs::write(root.join(MARKER), torn).unwrap();
            }
            assert_eq!(kind(&root).unwrap(), Kind::Older);
            require(&root).unwrap();
            make(&root).unwrap();
            assert_eq!(kind(&root).unwrap(), Kind::Marked);
        }
    }
}
