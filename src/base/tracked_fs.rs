//! The file system and the environment as planning sees them. Every question is noted with its answer, so that a later process can tell at a
//! glance whether it would plan the same.
//!
//! Contents are compared by digest and never by time: a file that was written twice within a tick of the clock, or whose
//! times were set back, is observed for what it is. Only large files that people keep beside a pipeline are known again by what
//! the file system says of them; the time of the last change of that, which nobody can set, is part of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
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

/// Bytes from which on a file's hash is remembered.
const LARGE: u64 = 8 << 20;
/// A file that changed later than this before it was hashed might change again without any of its times showing it.
const SETTLES: Duration = Duration::from_secs(2);

/// Answers questions about the file system and the environment, and notes them.
#[derive(Debug, Default)]
pub struct TrackedFs {
    notes: Mutex<Notes>,
    memory: Mutex<Memory>,
}

/// What the hashes of large files were.
#[derive(Debug, Default)]
struct Memory {
    /// Where this is kept.
    file: Option<PathBuf>,
    hashes: BTreeMap<String, Hashed>,
    changed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Hashed {
    mark: Mark,
    hash: String,
}

/// What the file system says of a file. Any change of its content changes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    fn of(path: &Path) -> io::Result<Self> {
        let m = fs::metadata(path)?;
        Ok(Self {
            device: m.dev(),
            inode: m.ino(),
            size: m.size(),
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        })
    }

    /// Whether the last change is long enough ago for the next one to show.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = u64::try_from(self.modified.0.max(self.changed.0)).unwrap_or_default();
        now > Duration::from_secs(last + 1) + SETTLES
    }
}

#[derive(Debug, Default)]
struct Notes {
    observed: Observations,
    /// Whether one question has had two answers.
    contradictory: bool,
    /// Files that were read as text: those that say what to do.
    texts: BTreeSet<PathBuf>,
}

/// Questions with their answers.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observations {
    /// What is in a file; none where there is no file.
    contents: BTreeMap<PathBuf, Option<Digest>>,
    /// Where a path leads when links are followed; none where nowhere.
    places: BTreeMap<PathBuf, Option<PathBuf>>,
    /// What matches a pattern.
    matches: BTreeMap<String, Vec<PathBuf>>,
    /// The values of environment variables; none where one isn't set.
    variables: BTreeMap<String, Option<Digest>>,
    /// Large files, by their marks; none where a file changed too lately to be known again.
    #[serde(default)]
    marks: BTreeMap<PathBuf, Option<Mark>>,
    /// Whether there is a regular file.
    #[serde(default)]
    files: BTreeMap<PathBuf, bool>,
    /// Whether an environment variable is set, whose value is nobody's business.
    #[serde(default)]
    set: BTreeMap<String, bool>,
}

impl TrackedFs {
    /// All answers so far; none where some contradict each other because files changed in the meantime.
    pub fn observed(&self) -> Option<Observations> {
        let notes = self.notes();
        (!notes.contradictory).then(|| notes.observed.clone())
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
            Ok(text) => self.note(|observed| &mut observed.contents, path, Some(Digest::of(text.as_bytes()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.note(|observed| &mut observed.contents, path, None),
            Err(_) => {}
        }
        text
    }

    /// The digest of a file, which is read once however often it is asked for.
    pub fn digest(&self, path: &Path) -> Result<Digest> {
        if let Some(Some(known)) = self.notes().observed.contents.get(path) {
            return Ok(*known);
        }
        regular(path).io_at("read", path)?;
        let digest = Digest::of_file(path)?;
        self.note(|observed| &mut observed.contents, path, Some(digest));
        Ok(digest)
    }

    /// The digest of a file, if there is one.
    pub fn digest_if_file(&self, path: &Path) -> Result<Option<Digest>> {
        if path.is_file() {
            return self.digest(path).map(Some);
        }
        self.note(|observed| &mut observed.contents, path, None);
        Ok(None)
    }

    /// Whether there is a regular file, whatever is in it.
    pub fn is_file(&self, path: &Path) -> bool {
        let is_file = path.is_file();
        self.note(|observed| &mut observed.files, path, is_file);
        is_file
    }

    /// A hash of a file, if there is one. It is what `compute` gives, which isn't asked again for a large file that is what it
    /// was; `kind` tells several hashes of one file apart.
    ///
    /// # Errors
    /// A file that is there and can't be read.
    pub fn hash_if_file(
        &self,
        path: &Path,
        kind: &str,
        compute: impl Fn(&Path) -> Result<String>,
    ) -> Result<Option<String>> {
        if !path.is_file() {
            self.note(|observed| &mut observed.contents, path, None);
            return Ok(None);
        }
        let mark = Mark::of(path).io_at("read", path)?;
        if mark.size < LARGE {
            self.digest(path)?;
            return compute(path).map(Some);
        }
        let settled = mark.is_settled();
        let name = format!("{kind}:{}", path.display());
        let known = self.memory().hashes.get(&name).filter(|known| settled && known.mark == mark).cloned();
        let hash = match known {
            Some(known) => known.hash,
            None => {
                let hash = compute(path)?;
                // What changed while it was read has no hash.
                if settled && Mark::of(path).io_at("read", path)? == mark {
                    let mut memory = self.memory();
                    memory.hashes.insert(name, Hashed { mark: mark.clone(), hash: hash.clone() });
                    memory.changed = true;
                }
                hash
            }
        };
        self.note(|observed| &mut observed.marks, path, settled.then_some(mark));
        Ok(Some(hash))
    }

    /// Reads what an earlier process remembered in `file`, where [`TrackedFs::remember`] will leave it again.
    pub fn recall(&self, file: PathBuf) {
        let known = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        *self.memory() = Memory { file: Some(file), hashes: known.unwrap_or_default(), changed: false };
    }

    /// Keeps the hashes of large files for later processes, where the folder for it is there. They may get lost.
    pub fn remember(&self) {
        let memory = self.memory();
        let Some(file) = memory.file.as_ref().filter(|_| memory.changed) else { return };
        let keep = || -> io::Result<()> {
            let mut new = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
            serde_json::to_writer(&mut new, &memory.hashes)?;
            new.persist(file)?;
            Ok(())
        };
        if let Err(e) = keep() {
            tracing::debug!("hashes of large files are not remembered: {e}");
        }
    }

    /// Where a path leads when links are followed, if anywhere.
    pub fn real(&self, path: &Path) -> Option<PathBuf> {
        let real = path.canonicalize().ok();
        self.note(|observed| &mut observed.places, path, real.clone());
        real
    }

    /// The paths that match a pattern, sorted, and those that couldn't be looked at.
    pub fn matching(&self, pattern: &str) -> Result<(Vec<PathBuf>, Vec<glob::GlobError>), glob::PatternError> {
        let (found, unreadable) = matching(pattern)?;
        let mut notes = self.notes();
        let before = notes.observed.matches.insert(pattern.to_owned(), found.clone());
        notes.contradictory |= before.is_some_and(|before| before != found);
        Ok((found, unreadable))
    }

    /// The digest of an environment variable's value, if it is set.
    pub fn variable(&self, name: &str) -> Option<Digest> {
        let value = variable(name);
        self.notes().observed.variables.insert(name.to_owned(), value);
        value
    }

    /// Whether an environment variable is set. Nothing is noted of its value.
    pub fn is_set(&self, name: &str) -> bool {
        let is_set = std::env::var_os(name).is_some();
        self.notes().observed.set.insert(name.to_owned(), is_set);
        is_set
    }

    fn note<A: PartialEq>(&self, of: impl Fn(&mut Observations) -> &mut BTreeMap<PathBuf, A>, path: &Path, answer: A) {
        let mut notes = self.notes();
        let answers = of(&mut notes.observed);
        let contradicts = answers.get(path).is_some_and(|before| *before != answer);
        answers.insert(path.to_owned(), answer);
        notes.contradictory |= contradicts;
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            && self.variables.iter().all(|(name, value)| variable(name) == *value)
            && self.set.iter().all(|(name, is_set)| std::env::var_os(name).is_some() == *is_set)
            && self.files.iter().all(|(path, is_file)| path.is_file() == *is_file)
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
        for name in ["a.toml", "b.toml", "data", "kept", "other"] {
            fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
        let observed = {
            let asked = TrackedFs::default();
            assert_eq!(asked.read_to_string(&at("a.toml")).unwrap(), "a.toml");
            assert!(asked.read_to_string(&at("absent")).is_err());
            assert_eq!(asked.digest(&at("data")).unwrap(), Digest::of(b"data"));
            assert_eq!(asked.digest_if_file(&at("by-hand")).unwrap(), None);
            assert_eq!(asked.real(&at("link")), at("data").canonicalize().ok());
            assert!(asked.is_file(&at("kept")) && !asked.is_file(&at("absent")));
            let pattern = at("*.toml");
            assert_eq!(asked.matching(&pattern.to_string_lossy()).unwrap().0, [at("a.toml"), at("b.toml")]);
            asked.observed().unwrap()
        };
        assert!(observed.still_holds());
        let json = serde_json::to_string(&observed).unwrap();
        assert_eq!(serde_json::from_str::<Observations>(&json).unwrap(), observed);
        let write = |name: &'static str, text: &'static str| move |dir: &Path| fs::write(dir.join(name), text).unwrap();
        write("other", "of no account")(dir.path());
        write("b.toml", "nobody read it")(dir.path());
        assert!(observed.still_holds());
        let changes: [Change; 7] = [
            (
                "text",
                |d| fs::write(d.join("a.toml"), "A.toml").unwrap(),
                |d| fs::write(d.join("a.toml"), "a.toml").unwrap(),
            ),
            ("new", |d| fs::write(d.join("absent"), "").unwrap(), |d| fs::remove_file(d.join("absent")).unwrap()),
            ("folder", |d| fs::create_dir(d.join("absent")).unwrap(), |d| fs::remove_dir(d.join("absent")).unwrap()),
            ("gone", |d| fs::remove_file(d.join("data")).unwrap(), |d| fs::write(d.join("data"), "data").unwrap()),
            ("place", |d| fs::remove_file(d.join("kept")).unwrap(), |d| fs::write(d.join("kept"), "other").unwrap()),
            ("matches", |d| fs::write(d.join("c.toml"), "").unwrap(), |d| fs::remove_file(d.join("c.toml")).unwrap()),
            ("link", |d| point(d, "other"), |d| point(d, "data")),
        ];
        for (name, change, back) in changes {
            change(dir.path());
            assert!(!observed.still_holds(), "{name}");
            back(dir.path());
            assert!(observed.still_holds(), "{name}");
        }
    }

    #[test]
    fn a_large_file_is_hashed_once_as_long_as_it_is_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (file, memory) = (dir.path().join("x"), dir.path().join("memory"));
        let count = std::cell::Cell::new(0);
        let hash = || {
            let asked = TrackedFs::default();
            asked.recall(memory.clone());
            let hash = asked.hash_if_file(&file, "blake3", |path| {
                count.set(count.get() + 1);
                Ok(Digest::of_file(path)?.to_string())
            });
            asked.remember();
            (hash.unwrap(), asked.observed().unwrap())
        };
        assert_eq!(hash().0, None);
        fs::write(&file, "small").unwrap();
        for times in 1..3 {
            assert_eq!(hash().0, Some(Digest::of(b"small").to_string()));
            assert_eq!(count.get(), times, "small files are always read");
        }
        let large = vec![7; LARGE as usize];
        fs::write(&file, &large).unwrap();
        let (first, observed) = hash();
        assert_eq!(first, Some(Digest::of(&large).to_string()));
        assert!(!observed.still_holds(), "it changed a moment ago");
        // As if some time had gone by.
        while !Mark::of(&file).unwrap().is_settled() {
            std::thread::sleep(Duration::from_millis(100));
        }
        let before = count.get();
        let observed = [hash(), hash()].map(|(hash, observed)| {
            assert_eq!(hash, first);
            observed
        });
        assert_eq!(count.get(), before + 1);
        assert!(observed[0].still_holds() && observed[0] == observed[1]);
        let mut changed = large;
        changed[9] = 8;
        let times = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, &changed).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(times).unwrap();
        assert!(!observed[0].still_holds(), "whoever sets a time back changes another");
        assert_eq!(hash().0, Some(Digest::of(&changed).to_string()));
    }

    fn point(dir: &Path, to: &str) {
        fs::remove_file(dir.join("link")).unwrap();
        std::os::unix::fs::symlink(dir.join(to), dir.join("link")).unwrap();
    }

    #[test]
    fn a_variable_is_an_answer_like_any_other() {
        let asked = TrackedFs::default();
        assert!(asked.variable("PATH").is_some() && asked.variable("EMOPIPE_NOT_SET").is_none());
        let mut observed = asked.observed().unwrap();
        assert!(observed.still_holds());
        observed.variables.insert("PATH".to_owned(), Some(Digest::of(b"elsewhere")));
        assert!(!observed.still_holds());
        let asked = TrackedFs::default();
        assert!(asked.is_set("PATH") && !asked.is_set("EMOPIPE_NOT_SET"));
        let mut observed = asked.observed().unwrap();
        assert!(observed.still_holds() && observed.variables.is_empty(), "nothing is noted of a value");
        observed.set.insert("EMOPIPE_NOT_SET".to_owned(), true);
        assert!(!observed.still_holds());
    }

    #[test]
    fn a_file_that_changes_while_it_is_asked_for_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        let asked = TrackedFs::default();
        for text in ["1", "2"] {
            fs::write(&file, text).unwrap();
            asked.read_to_string(&file).unwrap();
        }
        assert_eq!(asked.observed(), None);
    }
}
