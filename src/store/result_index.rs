//! The list of action results: an append-only file of checksummed lines.
//!
//! Each line is 16 hexadecimal digits of BLAKE3 over the rest of the line, a space, and a JSON object. A line that a crash
//! cut short, or that rotted, fails its checksum and counts as absent; the lines after it are still read. Writers hold an
//! exclusive lock while they append one line, so several processes can share the file; readers need no lock.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use super::{
    action_result::{Acceptance, ActionResult, Known},
    folders::Modes,
    index_line::{Line, decode, encode, end_of_last_line},
};
use crate::base::digest::Digest;
use crate::base::{
    durable,
    error::{IoAt, Result},
    failpoint,
    locks::Locks,
};

/// Fewer lines aren't worth a second thread.
const PARALLEL_FROM: usize = 1000;

#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    locks: Locks,
    modes: Modes,
    results: HashMap<Digest, Known>,
    latest: HashMap<String, Digest>,
    /// Bytes of the file that were read.
    read_to: u64,
    /// What `read_to` was at first.
    opened_at: u64,
    /// Number of lines that were read.
    lines: usize,
    /// Numbers (from 1) of the lines that can't be believed.
    damaged: Vec<usize>,
}

impl Index {
    /// Reads an index; one that isn't there yet is empty.
    ///
    /// # Errors
    /// Where there is an index that can't be read.
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
    ///
    /// # Errors
    /// Where the file can't be read.
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
    ///
    /// # Errors
    /// Where nothing can be learnt of the file. That it isn't there is none.
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
    ///
    /// # Errors
    /// Where the file can't be opened or read. That it isn't there is none.
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

    /// Adds a result of `key`, under the name of its action.
    ///
    /// # Errors
    /// Where the file can't be locked, written or synced. A line that was cut short is taken back where there are
    /// locks.
    pub fn append(&mut self, key: Digest, action: &str, result: &ActionResult) -> Result<()> {
        self.write(Line::Result { key, action: action.to_owned(), result: result.clone() })
    }

    /// Notes that `action` now stands for `key`.
    ///
    /// # Errors
    /// As [`Index::append`].
    pub fn append_use(&mut self, key: Digest, action: &str) -> Result<()> {
        self.write(Line::Use { key, action: action.to_owned() })
    }

    /// Lets a result stand for `key`, and notes who said so.
    ///
    /// # Errors
    /// As [`Index::append`].
    pub fn append_acceptance(
        &mut self,
        key: Digest,
        action: &str,
        result: &ActionResult,
        acceptance: Acceptance,
    ) -> Result<()> {
        self.write(Line::Accept { key, action: action.to_owned(), acceptance, result: result.clone() })
    }

    /// Notes that `key` has no result any more.
    ///
    /// # Errors
    /// As [`Index::append`].
    pub fn forget(&mut self, key: Digest) -> Result<()> {
        self.write(Line::Forget { key })
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Result { key, action, result } => {
                self.latest.insert(action.clone(), key);
                let order = self.lines;
                let known = self.results.entry(key).or_insert_with(|| Known {
                    action: String::new(),
                    results: Vec::new(),
                    accepted: None,
                    order,
                });
                known.action = action;
                // What was computed under the key itself goes before what somebody vouched for.
                let vouched = known.accepted.take().is_some();
                if vouched {
                    known.results.retain(|o| o.artifact != result.artifact);
                    known.results.insert(0, result);
                } else if known.results.iter().all(|o| o.artifact != result.artifact) {
                    known.results.push(result);
                }
            }
            Line::Use { key, action } => {
                self.latest.insert(action, key);
            }
            Line::Accept { key, action, acceptance, result } => {
                self.latest.insert(action.clone(), key);
                let (results, accepted) = (vec![result], Some(acceptance));
                self.results.insert(key, Known { action, results, accepted, order: self.lines });
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
    ///
    /// # Errors
    /// Where the index can't be read, or written anew as a whole.
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
            lines.extend(known.results.iter().cloned().map(|result| {
                let (key, action) = (*key, known.action.clone());
                match known.accepted.clone() {
                    Some(acceptance) => Line::Accept { key, action, acceptance, result },
                    None => Line::Result { key, action, result },
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
