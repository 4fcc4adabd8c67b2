//! Files that were fetched: what they are, and whether they are what is pinned.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use sha2::Digest as _;

use super::{
    http_download::Came,
    source::{Sha256, Source},
};
use crate::base::{
    digest::Digest,
    error::{Error, IoAt, Result},
};

/// What was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// A file in the work folder that nobody has compared with its pin yet.
pub(super) struct Body {
    pub path: PathBuf,
    /// Where its bytes came from, for messages.
    pub origin: String,
    pub came: Came,
    /// Whether a server sent it, which may send something else in its place.
    pub from_afar: bool,
}

impl Body {
    pub fn at_hand(path: PathBuf, origin: String) -> Self {
        Self { path, origin, came: Came::default(), from_afar: false }
    }
}

/// Why what came isn't taken, if it isn't.
///
/// # Errors
/// Where the file can't be read.
pub(super) fn refusal(source: &Source, name: &str, body: &Body, fetched: Fetched) -> Result<Option<Error>> {
    let difference = mismatch(source, &body.path, fetched)?;
    let web_page = body.from_afar && !name.to_lowercase().ends_with("html") && is_web_page(&body.path)?;
    let Some(difference) = difference else {
        // A pin has vouched for it.
        return Ok((web_page && source.pin().is_none()).then(|| {
            Error::input(format!("{name} from {} is a web page (HTML), not data", body.origin))
                .help("does the server want a login, or say that the file has gone? Look at the address in a browser")
        }));
    };
    let mut message = format!("{name} from {} is not the file that is pinned\n{difference}", body.origin);
    if web_page {
        message.push_str("\n  it is a web page (HTML): does the server want a login, or has the file gone?");
    }
    if let Some(encoding) = &body.came.encoding {
        message.push_str(&format!("\n  the server sent it encoded as `{encoding}`, which nobody asked for"));
    }
    Ok(Some(Error::input(message).help(
        "nothing was kept. If the publisher has changed the file on purpose, look at it and pin the new hash; else use another \
         mirror",
    )))
}

/// Digest and size of a file.
///
/// # Errors
/// Where the file can't be read.
pub(super) fn measure(path: &Path) -> Result<Fetched> {
    let size = fs::metadata(path).io_at("read", path)?.len();
    Ok(Fetched { digest: Digest::of_file(path)?, size })
}

/// The difference between what is pinned and what came, as two lines; none where all that is pinned agrees.
///
/// # Errors
/// Where the file can't be read for its SHA-256.
pub(super) fn mismatch(source: &Source, path: &Path, came: Fetched) -> Result<Option<String>> {
    let mut pairs = Vec::new();
    if let Some(pin) = source.blake3 {
        pairs.push((format!("BLAKE3 {pin}"), format!("BLAKE3 {}", came.digest)));
    }
    if let Some(pin) = source.sha256 {
        pairs.push((format!("SHA-256 {pin}"), format!("SHA-256 {}", sha256(path)?)));
    }
    if let Some(size) = source.size {
        pairs.push((format!("{size} bytes"), format!("{} bytes", came.size)));
    }
    if pairs.iter().all(|(pinned, received)| pinned == received) {
        return Ok(None);
    }
    let (pinned, received): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    Ok(Some(format!("  pinned   {}\n  received {}", pinned.join(", "), received.join(", "))))
}

/// Whether a file is a web page, going by its beginning.
///
/// # Errors
/// Where the file can't be read.
pub(super) fn is_web_page(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    fs::File::open(path).io_at("open", path)?.take(512).read_to_end(&mut start).io_at("read", path)?;
    let text = String::from_utf8_lossy(&start).to_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    Ok(["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| text.starts_with(tag)))
}

/// The SHA-256 of a file.
///
/// # Errors
/// A file that can't be read.
pub fn sha256(path: &Path) -> Result<Sha256> {
    let mut file = fs::File::open(path).io_at("open", path)?;
    let mut hasher = sha2::Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block).io_at("read", path)? {
            0 => break,
            n => hasher.update(&block[..n]),
        }
    }
    Ok(Sha256(hasher.finalize().into()))
}
