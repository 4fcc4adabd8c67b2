//! The list of action results: an append-only file of checksummed lines.
//!
//! Each line is 16 hexadecimal digits of BLAKE3 over the rest of the line, a space, and a JSON object. A line that a crash
//! cut short, or that rotted, fails its checksum and counts as absent; the lines after it are still read. Writers hold an
//! exclusive lock while they append one line, so several processes can share the file; readers need no lock.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{folders::Modes, names};
use crate::base::digest::Digest;
use crate::base::{
    durable,
    error::{IoAt, Result},
    failpoint,
    locks::Locks,
};

const CHECKSUM: usize = 16;

/// Fewer lines aren't worth a second thread.
const PARALLEL_FROM: usize = 1000;

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub name: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

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
        let outcome = Self::new(files);
        match names::problem_of_listing(&outcome.files) {
            Some(problem) => Err(problem),
            None => Ok(outcome),
        }
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|f| f.size).fold(0, u64::saturating_add)
    }

    /// Name of the first file that only one has, or that has other bytes.
    pub fn first_difference<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let lacks = |outcome: &Self, file: &FileEntry| {
            outcome.files.iter().all(|f| f.name != file.name || f.digest != file.digest)
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
    pub outcomes: Vec<ActionResult>,
    pub accepted: Option<Acceptance>,
    /// Rises with every line: a result's inputs were published before it.
    pub order: usize,
}

#[derive(Debug)]
enum Line {
    /// A result was published.
    Result {
        key: Digest,
        action: String,
        outcome: ActionResult,
    },
    /// An action of this name was satisfied by an earlier result.
    Use {
        key: Digest,
        action: String,
    },
    /// The result of another key stands for this one.
    Accept {
        key: Digest,
        action: String,
        acceptance: Acceptance,
        outcome: ActionResult,
    },
    Forget {
        key: Digest,
    },
}

/// A line as it is written. One flat table for all kinds: much faster to read than one type for each.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    t: Kind,
    key: Digest,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    action: Option<Cow<'a, str>>,
    /// The artifact's digest follows from its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<Cow<'a, [FileEntry]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Digest>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    note: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Result,
    Use,
    Accept,
    Forget,
}

impl Line {
    fn written(&self) -> Written<'_> {
        let bare = |t, key: &Digest| Written { t, key: *key, action: None, files: None, from: None, note: None };
        let named = |t, key, action| Written { action: Some(Cow::Borrowed(action)), ..bare(t, key) };
        match self {
            Self::Result { key, action, outcome } => {
                Written { files: Some(Cow::Borrowed(&outcome.files)), ..named(Kind::Result, key, action) }
            }
            Self::Use { key, action } => named(Kind::Use, key, action),
            Self::Accept { key, action, acceptance, outcome } => Written {
                files: Some(Cow::Borrowed(&outcome.files)),
                from: Some(acceptance.from),
                note: Some(Cow::Borrowed(&acceptance.note)),
                ..named(Kind::Accept, key, action)
            },
            Self::Forget { key } => bare(Kind::Forget, key),
        }
    }

    fn read(written: Written) -> Option<Self> {
        let key = written.key;
        let action = |a: Option<Cow<str>>| a.map(Cow::into_owned);
        // What can't be is as good as rotten.
        let outcome = |files: Option<Cow<[FileEntry]>>| ActionResult::checked(files?.into_owned()).ok();
        Some(match written.t {
            Kind::Result => Self::Result { key, action: action(written.action)?, outcome: outcome(written.files)? },
            Kind::Use => Self::Use { key, action: action(written.action)? },
            Kind::Accept => Self::Accept {
                key,
                action: action(written.action)?,
                acceptance: Acceptance { from: written.from?, note: written.note?.into_owned() },
                outcome: outcome(written.files)?,
            },
            Kind::Forget => Self::Forget { key },
        })
    }
}

#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    locks: Locks,
    modes: Modes,
    results: HashMap<Digest, Known>,
    latest: HashMap<String, Digest>,
    read_to: u64,
    /// What `read_to` was at first.
    opened_at: u64,
    lines: usize,
    /// Numbers (from 1) of the lines that can't be believed.
    damaged: Vec<usize>,
}

impl Index {
    pub fn open(path: &Path, locks: Locks, modes: Modes) -> Result<Self> {
        let mut index = Self {
            path: path.to_owned(),
            locks,
            modes,
            results: HashMap::new(),
            latest: HashMap::new(),
            read_to: 0,
            opened_at: 0,
            lines: 0,
            damaged: Vec::new(),
        };
        index.refresh()?;
        index.opened_at = index.read_to;
        Ok(index)
    }

    pub fn get(&self, key: &Digest) -> Option<&Known> {
        self.results.get(key)
    }

    pub fn latest(&self, action: &str) -> Option<Digest> {
        self.latest.get(action).copied()
    }

    /// The keys that names of actions stand for.
    pub fn latest_keys(&self) -> impl Iterator<Item = Digest> {
        self.latest.values().copied()
    }

    pub fn len(&self) -> usize {
        self.results.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &Known)> {
        self.results.iter()
    }

    /// The digest of the file, if it is what was read when it was opened.
    pub fn as_opened(&self) -> Result<Option<Digest>> {
        let unchanged = |path: &Path| std::fs::metadata(path).is_ok_and(|m| m.len() == self.opened_at);
        if self.opened_at == 0 || !unchanged(&self.path) {
            return Ok(None);
        }
        // Lines are only ever added while the store is open, so that the same length means the same lines.
        let digest = Digest::of_file(&self.path)?;
        Ok(unchanged(&self.path).then_some(digest))
    }

    /// Numbers (from 1) of lines that rotted or that a crash cut short.
    pub fn damaged(&self) -> Result<Vec<usize>> {
        let mut found = self.damaged.clone();
        let size = match std::fs::metadata(&self.path) {
            Ok(m) => m.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(crate::base::error::Error::io("read the index", &self.path, &e)),
        };
        if size > self.read_to {
            found.push(self.lines + 1);
        }
        Ok(found)
    }

    /// Reads the complete lines that were appended since the last look.
    pub fn refresh(&mut self) -> Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(f) => f,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(crate::base::error::Error::io("read the index", &self.path, &e)),
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.read_to))
            .and_then(|_| file.read_to_end(&mut bytes))
            .io_at("read the index", &self.path)?;
        let complete = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        self.read_to += complete as u64;
        let lines: Vec<&[u8]> = bytes[..complete].split_inclusive(|b| *b == b'\n').collect();
        let decoded: Vec<Option<Line>> = if lines.len() < PARALLEL_FROM {
            lines.iter().map(|line| decode(line)).collect()
        } else {
            lines.par_iter().map(|line| decode(line)).collect()
        };
        for line in decoded {
            self.lines += 1;
            match line {
                Some(line) => self.apply(line),
                None => self.damaged.push(self.lines),
            }
        }
        Ok(())
    }

    pub fn append(&mut self, key: Digest, action: &str, outcome: &ActionResult) -> Result<()> {
        self.write(Line::Result { key, action: action.to_owned(), outcome: outcome.clone() })
    }

    pub fn append_use(&mut self, key: Digest, action: &str) -> Result<()> {
        self.write(Line::Use { key, action: action.to_owned() })
    }

    pub fn append_acceptance(
        &mut self,
        key: Digest,
        action: &str,
        outcome: &ActionResult,
        acceptance: Acceptance,
    ) -> Result<()> {
        self.write(Line::Accept { key, action: action.to_owned(), acceptance, outcome: outcome.clone() })
    }

    pub fn forget(&mut self, key: Digest) -> Result<()> {
        self.write(Line::Forget { key })
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Result { key, action, outcome } => {
                self.latest.insert(action.clone(), key);
                let order = self.lines;
                let known = self.results.entry(key).or_insert_with(|| Known {
                    action: String::new(),
                    outcomes: Vec::new(),
                    accepted: None,
                    order,
                });
                known.action = action;
                // What was computed under the key itself goes before what somebody vouched for.
                let vouched = known.accepted.take().is_some();
                if vouched {
                    known.outcomes.retain(|o| o.artifact != outcome.artifact);
                    known.outcomes.insert(0, outcome);
                } else if known.outcomes.iter().all(|o| o.artifact != outcome.artifact) {
                    known.outcomes.push(outcome);
                }
            }
            Line::Use { key, action } => {
                self.latest.insert(action, key);
            }
            Line::Accept { key, action, acceptance, outcome } => {
                self.latest.insert(action.clone(), key);
                let (outcomes, accepted) = (vec![outcome], Some(acceptance));
                self.results.insert(key, Known { action, outcomes, accepted, order: self.lines });
            }
            Line::Forget { key } => {
                self.results.remove(&key);
            }
        }
    }

    fn write(&mut self, line: Line) -> Result<()> {
        let text = encode(&line)?;
        let path = &self.path;
        let mut file = File::options().create(true).read(true).append(true).open(path).io_at("open the index", path)?;
        let locked = self.locks.wait(&file, path)?;
        let mut end = file.seek(SeekFrom::End(0)).io_at("read the index", path)?;
        if end == 0 {
            durable::set_mode(path, self.modes.file).io_at("make the index", path)?;
        }
        let mut out = Vec::with_capacity(text.len() + 2);
        let whole = end_of_last_line(&mut file, end).io_at("read the index", path)?;
        if whole < end {
            // Somebody died while he wrote. Nobody else writes while this lock is held, so what he left can go.
            if locked {
                file.set_len(whole).io_at("write the index", path)?;
                end = whole;
            } else {
                out.push(b'\n');
            }
        }
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
        failpoint::after("index-half", || drop(file.write_all(&out[..out.len() / 2])));
        if let Err(e) = file.write_all(&out).and_then(|()| file.sync_data()) {
            // Half a line would be skipped by its checksum; taking it back keeps the file tidy on a full disk. Without a
            // lock somebody may have written after it.
            if locked {
                let _ = file.set_len(end);
            }
            return Err(crate::base::error::Error::io("write the index", path, &e));
        }
        if end == 0 {
            durable::sync_folder(durable::parent(path))?;
        }
        failpoint::at("index");
        drop(file);
        // Lines of others may lie before this one, so it is read back with them.
        self.refresh()?;
        if !locked {
            self.apply(line);
        }
        Ok(())
    }

    /// Forgets these results and writes the index anew, without lines that no longer say anything. Nobody else may have the
    /// store open.
    pub fn compact(&mut self, gone: impl IntoIterator<Item = Digest>) -> Result<()> {
        let before = self.results.len();
        for key in gone {
            self.results.remove(&key);
        }
        if self.results.len() == before && self.damaged()?.is_empty() {
            return Ok(());
        }
        let mut known: Vec<(&Digest, &Known)> = self.results.iter().collect();
        known.sort_by_key(|(_, k)| k.order);
        let mut lines = Vec::new();
        for (key, known) in known {
            lines.extend(known.outcomes.iter().cloned().map(|outcome| {
                let (key, action) = (*key, known.action.clone());
                match known.accepted.clone() {
                    Some(acceptance) => Line::Accept { key, action, acceptance, outcome },
                    None => Line::Result { key, action, outcome },
                }
            }));
        }
        let mut latest: Vec<(&String, &Digest)> = self.latest.iter().collect();
        latest.sort();
        lines.extend(latest.into_iter().map(|(action, key)| Line::Use { key: *key, action: action.clone() }));
        let mut text = String::new();
        for line in &lines {
            text.push_str(&encode(line)?);
            text.push('\n');
        }
        durable::replace(&self.path, self.modes.file, |file| file.write_all(text.as_bytes()))?;
        *self = Self::open(&self.path, self.locks, self.modes)?;
        Ok(())
    }
}

/// Whether a file is an index, going by its lines: one that can be believed is enough.
pub(super) fn is_index(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return false;
    }
    BufReader::new(file).split(b'\n').map_while(Result::ok).any(|line| decode(&line).is_some())
}

/// Where the last complete line of a file of `end` bytes ends.
fn end_of_last_line(file: &mut File, end: u64) -> std::io::Result<u64> {
    const BLOCK: u64 = 4096;
    let mut to = end;
    while to > 0 {
        let from = to.saturating_sub(if to == end { 1 } else { BLOCK });
        let mut bytes = vec![0; (to - from) as usize];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut bytes)?;
        if let Some(at) = bytes.iter().rposition(|b| *b == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        to = from;
    }
    Ok(0)
}

fn checksum(text: &[u8]) -> [u8; CHECKSUM] {
    let mut out = [0; CHECKSUM];
    out.copy_from_slice(&blake3::hash(text).to_hex().as_bytes()[..CHECKSUM]);
    out
}

fn encode(line: &Line) -> Result<String> {
    let json = serde_json::to_string(&line.written())?;
    let sum = checksum(json.as_bytes());
    Ok(format!("{} {json}", String::from_utf8_lossy(&sum)))
}

fn decode(line: &[u8]) -> Option<Line> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (sum, rest) = line.split_at_checked(CHECKSUM)?;
    let json = rest.strip_prefix(b" ")?;
    (sum == checksum(json)).then(|| serde_json::from_slice(json).ok().and_then(Line::read)).flatten()
}
