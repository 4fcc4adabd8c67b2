//! What a listing of files may say. Listings come from indexes and remote stores that others can write to, and their names
//! become paths where results are exported.

use super::FileEntry;

/// More bytes than any file of an artifact has.
const MOST_BYTES: u64 = 1 << 50;
/// The longest name of one file or folder that filesystems take, in bytes.
const LONGEST: usize = 255;

/// Why a file of an artifact can't be called so; none where it can.
pub fn problem(name: &str) -> Option<&'static str> {
    if name.contains(char::is_control) {
        return Some("it has a control character");
    }
    if name.contains('\\') {
        return Some("it has a backslash, which separates folders on some systems");
    }
    let parts = || name.split('/');
    if parts().any(|part| matches!(part, "" | "." | "..")) {
        return Some("it isn't a plain path below a folder");
    }
    parts().any(|part| part.len() > LONGEST).then_some("it is too long")
}

/// What is wrong with a listing that is sorted by name; none where nothing is.
pub fn problem_of_listing(files: &[FileEntry]) -> Option<String> {
    let called = |name: &str| files.binary_search_by(|f| f.name.as_str().cmp(name)).is_ok();
    for (i, file) in files.iter().enumerate() {
        let name = &file.name;
        if let Some(why) = problem(name) {
            return Some(format!("names an impossible file, {name:?}: {why}"));
        }
        if file.size > MOST_BYTES {
            return Some(format!("says that {name:?} has {} bytes", file.size));
        }
        if i > 0 && files[i - 1].name == *name {
            return Some(format!("names the file {name:?} twice"));
        }
        if let Some((at, _)) = name.match_indices('/').find(|(at, _)| called(&name[..*at])) {
            return Some(format!("names {:?} as a file and as a folder", &name[..at]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::digest::Digest, store::ActionResult};

    fn listing(names: &[&str]) -> Result<ActionResult, String> {
        let entry = |name: &&str| FileEntry { name: (*name).to_owned(), digest: Digest::of(b"x"), size: 1 };
        ActionResult::checked(names.iter().map(entry).collect())
    }

    #[test]
    fn names_stay_inside_of_their_artifact() {
        for name in ["a", "a b.txt", "sub/a", ".hidden", "a..b", "é/ñ", "C:x"] {
            assert!(listing(&[name]).is_ok(), "{name}");
        }
        for name in [
            "",
            "/",
            "/etc/x",
            "../x",
            "a/../../x",
            "a//b",
            "a/",
            ".",
            "./a",
            "a\\..\\x",
            "a\nb",
            "\x1b[2J",
            "a\0",
            "\u{85}",
        ] {
            assert!(listing(&[name]).is_err(), "{name:?}");
        }
        assert!(listing(&[&"n".repeat(256)]).is_err());
    }

    #[test]
    fn a_listing_names_each_place_once() {
        assert!(listing(&["a/b", "a-b", "b"]).is_ok());
        assert!(listing(&["b", "a", "b"]).unwrap_err().contains("twice"));
        assert!(listing(&["a/b/c", "a-b", "a/b"]).unwrap_err().contains("as a folder"));
        let huge = FileEntry { name: "x".to_owned(), digest: Digest::of(b"x"), size: u64::MAX };
        assert!(ActionResult::checked(vec![huge]).unwrap_err().contains("bytes"));
    }
}
