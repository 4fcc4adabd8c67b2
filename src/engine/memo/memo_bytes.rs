//! A memo as bytes.

use super::witness::Memo;
use crate::base::{digest::Digest, error::Result};

impl Memo {
    /// JSON, then the blobs in a form that is read quickly; their hash before both.
    ///
    /// # Errors
    /// Where it can't be written as JSON.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut body = serde_json::to_vec(self)?;
        body.push(b'\n');
        for (digest, size) in &self.blobs {
            body.extend_from_slice(digest.as_bytes());
            body.extend_from_slice(&size.to_le_bytes());
        }
        Ok([Digest::of(&body).as_bytes(), &body[..]].concat())
    }

    /// None where the bytes aren't those of a memo.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (sum, body) = bytes.split_first_chunk::<32>()?;
        if Digest::of(body).as_bytes() != sum {
            return None;
        }
        let end = body.iter().position(|b| *b == b'\n')?;
        let mut memo: Self = serde_json::from_slice(&body[..end]).ok()?;
        let blob = |bytes: &[u8; 40]| -> Option<(Digest, u64)> {
            let (digest, size) = bytes.split_first_chunk::<32>()?;
            Some((Digest::from_bytes(*digest), u64::from_le_bytes(size.try_into().ok()?)))
        };
        memo.blobs = body[end + 1..].as_chunks().0.iter().map(blob).collect::<Option<_>>()?;
        Some(memo)
    }
}
