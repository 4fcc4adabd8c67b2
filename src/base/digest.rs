//! The BLAKE3 digest that names every blob, artifact and action.

use std::{fmt, fs::File, ops::Deref, path::Path, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{Error, IoAt, Result};

/// Files above this size are hashed in parallel from a memory map.
const PARALLEL_FROM: u64 = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Hashes a file with BLAKE3's tree, in parallel where it is large.
    ///
    /// # Errors
    /// Where the file can't be opened or read.
    pub fn of_file(path: &Path) -> Result<Self> {
        let file = File::open(path).io_at("open", path)?;
        let size = file.metadata().io_at("read", path)?.len();
        let mut hasher = blake3::Hasher::new();
        if size >= PARALLEL_FROM {
            hasher.update_mmap_rayon(path).io_at("read", path)?;
        } else {
            hasher.update_reader(file).io_at("read", path)?;
        }
        Ok(hasher.into())
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// All 64 hexadecimal digits.
    pub fn to_hex(&self) -> impl Deref<Target = str> {
        blake3::Hash::from_bytes(self.0).to_hex()
    }

    /// The first 12 hexadecimal digits: enough to tell artifacts apart in messages and reports.
    pub fn short(&self) -> String {
        self.to_hex()[..12].to_owned()
    }
}

impl From<blake3::Hasher> for Digest {
    fn from(h: blake3::Hasher) -> Self {
        Self(*h.finalize().as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        blake3::Hash::from_hex(s).map(|h| Self(*h.as_bytes())).map_err(|_| {
            Error::input(format!("`{s}` is not a BLAKE3 digest")).help("a digest has 64 hexadecimal digits")
        })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Hex;
        impl serde::de::Visitor<'_> for Hex {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }
        }
        d.deserialize_str(Hex)
    }
}

impl schemars::JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$", "description": "BLAKE3 digest" })
    }
}
