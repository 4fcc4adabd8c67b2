//! How a result is written down in a remote store: the BLAKE3 of a JSON object, a space, and that object, on one line.

use serde::{Deserialize, Serialize};

use crate::{
    base::{digest::Digest, error::Result},
    store::{ActionResult, FileEntry},
};

/// More bytes than any description has.
const MOST_PREIMAGE: u64 = 64 << 20;

/// An action's result, as the remote store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub key: Digest,
    pub result: ActionResult,
    /// The blob that holds the description whose hash `key` is.
    pub preimage: FileEntry,
}

#[derive(Serialize, Deserialize)]
struct Body {
    key: Digest,
    files: Vec<FileEntry>,
    preimage: FileEntry,
}

impl Record {
    /// The line that stands for it in a remote store.
    ///
    /// # Errors
    /// Where it can't be written as JSON.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let body = Body { key: self.key, files: self.result.files.clone(), preimage: self.preimage.clone() };
        let json = serde_json::to_string(&body)?;
        Ok(format!("{} {json}\n", Digest::of(json.as_bytes())).into_bytes())
    }

    /// # Errors
    /// What is wrong with a record that isn't whole, isn't that of `key`, or names files outside of their artifact.
    pub fn decode(bytes: &[u8], key: &Digest) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "its record isn't text")?;
        let (sum, json) = text.trim_end_matches('\n').split_once(' ').ok_or("its record is cut short")?;
        if sum != Digest::of(json.as_bytes()).to_string() {
            return Err("its record doesn't match its checksum".to_owned());
        }
        let body: Body = serde_json::from_str(json).map_err(|e| format!("its record isn't understood: {e}"))?;
        if body.key != *key {
            return Err(format!("its record is that of another key, {}", body.key.short()));
        }
        let result = ActionResult::checked(body.files).map_err(|problem| format!("its record {problem}"))?;
        if body.preimage.size > MOST_PREIMAGE {
            return Err(format!("its record says that its description has {} bytes", body.preimage.size));
        }
        Ok(Self { key: body.key, result, preimage: body.preimage })
    }
}

/// The files that a record names, if it is whole and that of `key`.
pub fn listing(bytes: &[u8], key: &Digest) -> Option<Vec<FileEntry>> {
    Record::decode(bytes, key).ok().map(|record| record.result.files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> Record {
        let entry = |name: &str| FileEntry { name: name.to_owned(), digest: Digest::of(name.as_bytes()), size: 3 };
        Record { key: Digest::of(b"k"), result: ActionResult::new(vec![entry(name), entry("b")]), preimage: entry("p") }
    }

    #[test]
    fn what_is_written_is_read() {
        let record = record("sub/a.txt");
        assert_eq!(Record::decode(&record.encode().unwrap(), &record.key), Ok(record));
    }

    #[test]
    fn every_flipped_or_missing_byte_is_noticed() {
        let record = record("a");
        let bytes = record.encode().unwrap();
        for i in 0..bytes.len() - 1 {
            assert!(Record::decode(&bytes[..i], &record.key).is_err(), "cut at {i}");
            let mut flipped = bytes.clone();
            flipped[i] ^= 1;
            assert!(Record::decode(&flipped, &record.key).is_err(), "flipped at {i}");
        }
        assert!(Record::decode(&bytes, &Digest::of(b"other")).unwrap_err().contains("another key"));
    }

    #[test]
    fn files_stay_inside_of_their_artifact() {
        for name in ["../x", "/etc/x", "a/../../x", "a//b", "", ".", "a\\..\\x", "b", "b/c", "a\x1b[2J"] {
            let record = record(name);
            assert!(Record::decode(&record.encode().unwrap(), &record.key).is_err(), "{name}");
        }
    }
}
