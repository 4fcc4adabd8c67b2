//! What an action produced, and what is known of it.

use serde::{Deserialize, Serialize};

use super::{file_entry::FileEntry, names};
use crate::base::digest::Digest;

/// What an action produced: an artifact, named by the digest of its listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResult {
    pub artifact: Digest,
    pub files: Vec<FileEntry>,
}

impl ActionResult {
    /// `files` in any order; the digest covers names and contents, length-prefixed so that no two listings collide.
    pub fn new(mut files: Vec<FileEntry>) -> Self {
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hasher = blake3::Hasher::new_derive_key("emopipe artifact listing v1");
        for f in &files {
            hasher.update(&(f.name.len() as u64).to_le_bytes()).update(f.name.as_bytes()).update(f.digest.as_bytes());
        }
        Self { artifact: hasher.into(), files }
    }

    /// As [`ActionResult::new`], for files that somebody else listed.
    ///
    /// # Errors
    /// What is wrong with the listing.
    pub fn checked(files: Vec<FileEntry>) -> Result<Self, String> {
        let result = Self::new(files);
        match names::why_impossible_listing(&result.files) {
            Some(problem) => Err(problem),
            None => Ok(result),
        }
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|f| f.size).fold(0, u64::saturating_add)
    }

    /// Name of the first file that only one has, or that has other bytes.
    pub fn first_difference<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let lacks = |result: &Self, file: &FileEntry| {
            result.files.iter().all(|f| f.name != file.name || f.digest != file.digest)
        };
        let here = self.files.iter().find(|f| lacks(other, f));
        here.into_iter().chain(other.files.iter().find(|f| lacks(self, f))).map(|f| f.name.as_str()).min()
    }
}

/// A promise that a change of the description can't change the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The key whose result stands in.
    pub from: Digest,
    /// Who or why, in the words of the one who promised.
    pub note: String,
}

/// What is known under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The action that was published last under this key.
    pub action: String,
    /// The first one published comes first and is the one in use; a second one shows that the action isn't deterministic.
    pub results: Vec<ActionResult>,
    pub accepted: Option<Acceptance>,
    /// Rises with every line: a result's inputs were published before it.
    pub order: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

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
