//! The file system and the environment as planning sees them. Every question is noted with its answer, so that a later process can tell at a
//! glance whether it would plan the same.
//!
//! Contents are compared by digest and never by time: a file that was written twice within a tick of the clock, or whose
//! times were set back, is seen for what it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::FileTypeExt},
    path::{Path, PathBuf},
    sync::Mutex,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    error::{IoAt, Result},
};

/// Fewer files aren't worth a second thread.
const PARALLEL_FROM: usize = 64;

/// Stars in a pattern: each multiplies what it is compared with.
const MOST_STARS: usize = 8;

/// Files that a pattern is followed to.
const MOST_MATCHES: usize = 20_000;

/// Bytes of a text that people write.
const MOST_TEXT: u64 = 16 << 20;

/// Answers questions about the file system and the environment, and notes them.
#[derive(Debug, Default)]
pub struct Surroundings(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    seen: Seen,
    /// Whether one question has had two answers.
    contradictory: bool,
    /// Files that were read as text: those that say what to do.
    texts: BTreeSet<PathBuf>,
}

/// Questions with their answers.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// What is in a file; none where there is no file.
    contents: BTreeMap<PathBuf, Option<Digest>>,
    /// Where a path leads when links are followed; none where nowhere.
    places: BTreeMap<PathBuf, Option<PathBuf>>,
    /// What matches a pattern.
    matches: BTreeMap<String, Vec<PathBuf>>,
    /// The values of environment variables; none where one isn't set.
    variables: BTreeMap<String, Option<Digest>>,
}

impl Surroundings {
    /// All answers so far; none where some contradict each other because files changed in the meantime.
    pub fn seen(&self) -> Option<Seen> {
        let notes = self.notes();
        (!notes.contradictory).then(|| notes.seen.clone())
    }

    /// The files that were read as text: those that say what to do, and not what with.
    pub fn texts(&self) -> Vec<PathBuf> {
        self.notes().texts.iter().cloned().collect()
    }

    /// The text of a regular file of at most [`MOST_TEXT`] bytes.
    pub fn read_to_string(&self, path: &Path) -> io::Result<String> {
        let text = text_of(path);
        if text.is_ok() {
            self.notes().texts.insert(path.to_owned());
        }
        match &text {
            Ok(text) => self.note(|seen| &mut seen.contents, path, Some(Digest::of(text.as_bytes()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.note(|seen| &mut seen.contents, path, None),
            Err(_) => {}
        }
        text
    }

    /// The digest of a file, which is read once however often it is asked for.
    pub fn digest(&self, path: &Path) -> Result<Digest> {
        if let Some(Some(known)) = self.notes().seen.contents.get(path) {
            return Ok(*known);
        }
        regular(path).io_at("read", path)?;
        let digest = Digest::of_file(path)?;
        self.note(|seen| &mut seen.contents, path, Some(digest));
        Ok(digest)
    }

    /// The digest of a file, if there is one.
    pub fn digest_if_file(&self, path: &Path) -> Result<Option<Digest>> {
        if path.is_file() {
            return self.digest(path).map(Some);
        }
        self.note(|seen| &mut seen.contents, path, None);
        Ok(None)
    }

    /// Where a path leads when links are followed, if anywhere.
    pub fn real(&self, path: &Path) -> Option<PathBuf> {
        let real = path.canonicalize().ok();
        self.note(|seen| &mut seen.places, path, real.clone());
        real
    }

    /// The paths that match a pattern, sorted, and those that couldn't be looked at.
    pub fn matching(&self, pattern: &str) -> Result<(Vec<PathBuf>, Vec<glob::GlobError>), glob::PatternError> {
        let (found, unreadable) = matching(pattern)?;
        let mut notes = self.notes();
        let before = notes.seen.matches.insert(pattern.to_owned(), found.clone());
        notes.contradictory |= before.is_some_and(|before| before != found);
        Ok((found, unreadable))
    }

    /// The digest of an environment variable's value, if it is set.
    pub fn variable(&self, name: &str) -> Option<Digest> {
        let value = variable(name);
        self.notes().seen.variables.insert(name.to_owned(), value);
        value
    }

    fn note<A: PartialEq>(&self, of: impl Fn(&mut Seen) -> &mut BTreeMap<PathBuf, A>, path: &Path, answer: A) {
        let mut notes = self.notes();
        let answers = of(&mut notes.seen);
        let contradicts = answers.get(path).is_some_and(|before| *before != answer);
        answers.insert(path.to_owned(), answer);
        notes.contradictory |= contradicts;
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Seen {
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
        self.places.iter().all(|(path, real)| path.canonicalize().ok() == *real)
            && self.matches.iter().all(|(pattern, paths)| {
                matching(pattern).is_ok_and(|(found, unreadable)| unreadable.is_empty() && found == *paths)
            })
            && self.variables.iter().all(|(name, value)| variable(name) == *value)
            && contents()
    }
}

/// Whether a file has this content, or isn't there.
fn is(path: &Path, digest: Option<&Digest>) -> bool {
    match digest {
        Some(digest) => {
            regular(path).and_then(|_| Ok(Digest::of_file(path).is_ok_and(|found| found == *digest))).unwrap_or(false)
        }
        None => fs::metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound),
    }
}

fn variable(name: &str) -> Option<Digest> {
    Some(Digest::of(std::env::var_os(name)?.as_bytes()))
}

/// Opens a file that is one: what waits for a writer, never ends or acts when it is read is none.
///
/// # Errors
/// `InvalidInput` for folders, pipes, sockets and devices; whatever else keeps a file from being opened.
pub fn regular(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    let what = match () {
        () if kind.is_file() => return File::open(path),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what} and no regular file")))
}

fn text_of(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    regular(path)?.take(MOST_TEXT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_TEXT {
        let message = format!("it has more than {} MiB", MOST_TEXT >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}

fn matching(pattern: &str) -> Result<(Vec<PathBuf>, Vec<glob::GlobError>), glob::PatternError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A change, and what it takes back.
    type Change = (&'static str, fn(&Path), fn(&Path));

    #[test]
    fn every_change_of_an_answer_is_noticed_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a.toml", "b.toml", "data", "other"] {
            fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
        let seen = {
            let asked = Surroundings::default();
            assert_eq!(asked.read_to_string(&at("a.toml")).unwrap(), "a.toml");
            assert!(asked.read_to_string(&at("absent")).is_err());
            assert_eq!(asked.digest(&at("data")).unwrap(), Digest::of(b"data"));
            assert_eq!(asked.digest_if_file(&at("by-hand")).unwrap(), None);
            assert_eq!(asked.real(&at("link")), at("data").canonicalize().ok());
            let pattern = at("*.toml");
            assert_eq!(asked.matching(&pattern.to_string_lossy()).unwrap().0, [at("a.toml"), at("b.toml")]);
            asked.seen().unwrap()
        };
        assert!(seen.still_holds());
        let json = serde_json::to_string(&seen).unwrap();
        assert_eq!(serde_json::from_str::<Seen>(&json).unwrap(), seen);
        let write = |name: &'static str, text: &'static str| move |dir: &Path| fs::write(dir.join(name), text).unwrap();
        write("other", "of no account")(dir.path());
        write("b.toml", "nobody read it")(dir.path());
        assert!(seen.still_holds());
        let changes: [Change; 6] = [
            (
                "text",
                |d| fs::write(d.join("a.toml"), "A.toml").unwrap(),
                |d| fs::write(d.join("a.toml"), "a.toml").unwrap(),
            ),
            ("new", |d| fs::write(d.join("absent"), "").unwrap(), |d| fs::remove_file(d.join("absent")).unwrap()),
            ("folder", |d| fs::create_dir(d.join("absent")).unwrap(), |d| fs::remove_dir(d.join("absent")).unwrap()),
            ("gone", |d| fs::remove_file(d.join("data")).unwrap(), |d| fs::write(d.join("data"), "data").unwrap()),
            ("matches", |d| fs::write(d.join("c.toml"), "").unwrap(), |d| fs::remove_file(d.join("c.toml")).unwrap()),
            ("link", |d| point(d, "other"), |d| point(d, "data")),
        ];
        for (name, change, back) in changes {
            change(dir.path());
            assert!(!seen.still_holds(), "{name}");
            back(dir.path());
            assert!(seen.still_holds(), "{name}");
        }
    }

    fn point(dir: &Path, to: &str) {
        fs::remove_file(dir.join("link")).unwrap();
        std::os::unix::fs::symlink(dir.join(to), dir.join("link")).unwrap();
    }

    #[test]
    fn a_variable_is_an_answer_like_any_other() {
        let asked = Surroundings::default();
        assert!(asked.variable("PATH").is_some() && asked.variable("EMOPIPE_NOT_SET").is_none());
        let mut seen = asked.seen().unwrap();
        assert!(seen.still_holds());
        seen.variables.insert("PATH".to_owned(), Some(Digest::of(b"elsewhere")));
        assert!(!seen.still_holds());
    }

    #[test]
    fn a_file_that_changes_while_it_is_asked_for_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        let asked = Surroundings::default();
        for text in ["1", "2"] {
            fs::write(&file, text).unwrap();
            asked.read_to_string(&file).unwrap();
        }
        assert_eq!(asked.seen(), None);
    }
}
