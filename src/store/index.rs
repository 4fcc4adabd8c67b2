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

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::error::{IoAt, Result};

const CHECKSUM: usize = 16;

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
pub struct Outcome {
    pub artifact: Digest,
    pub files: Vec<FileEntry>,
}

impl Outcome {
    /// `files` in any order; the digest covers names and contents, length-prefixed so that no two listings collide.
    pub fn new(mut files: Vec<FileEntry>) -> Self {
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hasher = blake3::Hasher::new_derive_key("emopipe artifact listing v1");
        for f in &files {
            hasher.update(&(f.name.len() as u64).to_le_bytes()).update(f.name.as_bytes()).update(f.digest.as_bytes());
        }
        Self { artifact: hasher.into(), files }
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "t")]
enum Line {
    /// A result was published.
    Result {
        key: Digest,
        action: String,
        files: Vec<FileEntry>,
    },
    /// An action of this name was satisfied by an earlier result.
    Use {
        key: Digest,
        action: String,
    },
    Forget {
        key: Digest,
    },
}

#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    results: HashMap<Digest, Outcome>,
    latest: HashMap<String, Digest>,
    read_to: u64,
}

impl Index {
    pub fn open(path: &Path) -> Result<Self> {
        let mut index = Self { path: path.to_owned(), results: HashMap::new(), latest: HashMap::new(), read_to: 0 };
        index.refresh()?;
        Ok(index)
    }

    pub fn get(&self, key: &Digest) -> Option<&Outcome> {
        self.results.get(key)
    }

    pub fn latest(&self, action: &str) -> Option<Digest> {
        self.latest.get(action).copied()
    }

    pub fn len(&self) -> usize {
        self.results.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &Outcome)> {
        self.results.iter()
    }

    /// Reads the complete lines that were appended since the last look.
    pub fn refresh(&mut self) -> Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(f) => f,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(crate::error::Error::io("read the index", &self.path, &e)),
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.read_to))
            .and_then(|_| file.read_to_end(&mut bytes))
            .io_at("read the index", &self.path)?;
        let complete = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        for line in bytes[..complete].split(|b| *b == b'\n') {
            if let Some(line) = decode(line) {
                self.apply(line);
            }
        }
        self.read_to += complete as u64;
        Ok(())
    }

    pub fn append(&mut self, key: Digest, action: &str, outcome: &Outcome) -> Result<()> {
        self.write(Line::Result { key, action: action.to_owned(), files: outcome.files.clone() })
    }

    pub fn append_use(&mut self, key: Digest, action: &str) -> Result<()> {
        self.write(Line::Use { key, action: action.to_owned() })
    }

    pub fn forget(&mut self, key: Digest) -> Result<()> {
        self.write(Line::Forget { key })
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Result { key, action, files } => {
                self.results.insert(key, Outcome::new(files));
                self.latest.insert(action, key);
            }
            Line::Use { key, action } => {
                self.latest.insert(action, key);
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
        file.lock().io_at("lock the index", path)?;
        let end = file.seek(SeekFrom::End(0)).io_at("read the index", path)?;
        let mut out = Vec::with_capacity(text.len() + 2);
        if end > 0 && !ends_with_newline(&mut file).io_at("read the index", path)? {
            out.push(b'\n');
        }
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
        if let Err(e) = file.write_all(&out).and_then(|()| file.sync_data()) {
            // Half a line would be skipped by its checksum; taking it back keeps the file tidy on a full disk.
            let _ = file.set_len(end);
            return Err(crate::error::Error::io("write the index", path, &e));
        }
        drop(file);
        self.apply(line);
        Ok(())
    }
}

fn ends_with_newline(file: &mut File) -> std::io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn checksum(text: &[u8]) -> [u8; CHECKSUM] {
    let mut out = [0; CHECKSUM];
    out.copy_from_slice(&blake3::hash(text).to_hex().as_bytes()[..CHECKSUM]);
    out
}

fn encode(line: &Line) -> Result<String> {
    let json = serde_json::to_string(line)?;
    let sum = checksum(json.as_bytes());
    Ok(format!("{} {json}", String::from_utf8_lossy(&sum)))
}

fn decode(line: &[u8]) -> Option<Line> {
    let (sum, rest) = line.split_at_checked(CHECKSUM)?;
    let json = rest.strip_prefix(b" ")?;
    (sum == checksum(json)).then(|| serde_json::from_slice(json).ok()).flatten()
}
