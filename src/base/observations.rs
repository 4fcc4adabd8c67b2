//! What planning has asked of the file system and the environment, with the answers.
//!
//! Contents are compared by digest and never by time: a file that was written twice within a tick of the clock, or whose
//! times were set back, is observed for what it is.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{digest::Digest, file_mark::Mark, regular_file::regular};

/// Fewer files aren't worth a second thread.
const PARALLEL_FROM: usize = 64;

/// Stars in a pattern: each multiplies what it is compared with.
const MOST_STARS: usize = 8;

/// Files that a pattern is followed to.
const MOST_MATCHES: usize = 20_000;

/// What was found at paths.
pub(super) type Answers<A> = BTreeMap<PathBuf, A>;

/// Questions with their answers.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observations {
    /// What is in a file; none where there is no file.
    pub(super) contents: Answers<Option<Digest>>,
    /// Where a path leads when links are followed; none where nowhere.
    pub(super) places: Answers<Option<PathBuf>>,
    /// What matches a pattern.
    pub(super) matches: BTreeMap<String, Vec<PathBuf>>,
    /// The values of environment variables; none where one isn't set.
    pub(super) variables: BTreeMap<String, Option<Digest>>,
    /// Large files, by their marks; none where a file changed too lately to be known again.
    #[serde(default)]
    pub(super) marks: Answers<Option<Mark>>,
    /// Whether there is a file, where nothing else of it was asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) files: Answers<bool>,
    /// Whether an environment variable is set, where its value was not asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) set: BTreeMap<String, bool>,
}

impl Observations {
    /// Whether all questions have the same answers now.
    pub fn still_holds(&self) -> bool {
        let contents = || -> bool {
            let same = |(path, digest): (&PathBuf, &Option<Digest>)| is(path, digest.as_ref());
            if self.contents.len() < PARALLEL_FROM {
                self.contents.iter().all(same)
            } else {
                self.contents.par_iter().all(same)
            }
        };
        let marked = |(path, mark): (&PathBuf, &Option<Mark>)| mark.is_some() && Mark::of(path).ok() == *mark;
        self.marks.iter().all(marked)
            && self.places.iter().all(|(path, real)| path.canonicalize().ok() == *real)
            && self.matches.iter().all(|(pattern, paths)| {
                matching(pattern).is_ok_and(|(found, unreadable)| unreadable.is_empty() && found == *paths)
            })
            && self.variables.iter().all(|(name, value)| std::env::var_os(name).as_deref().map(digest_of) == *value)
            && self.files.iter().all(|(path, found)| path.is_file() == *found)
            && self.set.iter().all(|(name, set)| std::env::var_os(name).is_some() == *set)
            && contents()
    }
}

/// Whether a file has this content, or isn't there.
fn is(path: &Path, digest: Option<&Digest>) -> bool {
    match digest {
        Some(digest) => regular(path).is_ok() && Digest::of_file(path).is_ok_and(|found| found == *digest),
        None => fs::metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound),
    }
}

/// The paths that match a pattern, sorted, and those that couldn't be looked at.
///
/// # Errors
/// A pattern that isn't understood, or that has too many stars.
pub(super) fn matching(pattern: &str) -> Result<(Vec<PathBuf>, Vec<glob::GlobError>), glob::PatternError> {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    if pattern.matches('*').count() > MOST_STARS {
        return Err(glob::PatternError { pos: 0, msg: "it has too many stars" });
    }
    for path in glob::glob(pattern)?.take(MOST_MATCHES) {
        match path {
            Ok(path) => found.push(path),
            Err(e) => unreadable.push(e),
        }
    }
    found.sort();
    Ok((found, unreadable))
}

/// The digest that stands for the value of an environment variable.
pub(super) fn digest_of(value: &OsStr) -> Digest {
    Digest::of(value.as_bytes())
}
