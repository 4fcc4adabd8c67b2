//! One line of the index: 16 hexadecimal digits of BLAKE3 over the rest of the line, a space, and a JSON object.

use std::{
    borrow::Cow,
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    action_result::{Acceptance, ActionResult},
    file_entry::FileEntry,
};
use crate::base::{digest::Digest, error::Result};

const CHECKSUM: usize = 16;

#[derive(Debug)]
pub(super) enum Line {
    /// A result was published.
    Result {
        key: Digest,
        action: String,
        result: ActionResult,
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
        result: ActionResult,
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
            Self::Result { key, action, result } => {
                Written { files: Some(Cow::Borrowed(&result.files)), ..named(Kind::Result, key, action) }
            }
            Self::Use { key, action } => named(Kind::Use, key, action),
            Self::Accept { key, action, acceptance, result } => Written {
                files: Some(Cow::Borrowed(&result.files)),
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
        let result = |files: Option<Cow<[FileEntry]>>| ActionResult::checked(files?.into_owned()).ok();
        Some(match written.t {
            Kind::Result => Self::Result { key, action: action(written.action)?, result: result(written.files)? },
            Kind::Use => Self::Use { key, action: action(written.action)? },
            Kind::Accept => Self::Accept {
                key,
                action: action(written.action)?,
                acceptance: Acceptance { from: written.from?, note: written.note?.into_owned() },
                result: result(written.files)?,
            },
            Kind::Forget => Self::Forget { key },
        })
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
///
/// # Errors
/// Where the file can't be read.
pub(super) fn end_of_last_line(file: &mut File, end: u64) -> std::io::Result<u64> {
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

/// A line with its checksum, without the line feed.
///
/// # Errors
/// Where the line can't be written as JSON.
pub(super) fn encode(line: &Line) -> Result<String> {
    let json = serde_json::to_string(&line.written())?;
    let sum = checksum(json.as_bytes());
    Ok(format!("{} {json}", String::from_utf8_lossy(&sum)))
}

pub(super) fn decode(line: &[u8]) -> Option<Line> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (sum, rest) = line.split_at_checked(CHECKSUM)?;
    let json = rest.strip_prefix(b" ")?;
    (sum == checksum(json)).then(|| serde_json::from_slice(json).ok().and_then(Line::read)).flatten()
}
