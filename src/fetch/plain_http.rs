//! Unprotected addresses.

use reqwest::Url;

use super::{address::literal, url_text::shown};
use crate::base::error::{Error, Result};

/// Plain http lets anyone on the way change the bytes: only a pin, or never leaving this machine, makes up for that.
///
/// # Errors
/// An address of neither kind; the help says what to do.
pub(super) fn check_plain(url: &Url, pinned: bool) -> Result<()> {
    let local = match url.host_str() {
        Some("localhost") => true,
        _ => literal(url).is_some_and(|ip| ip.is_loopback()),
    };
    if url.scheme() == "https" || local || pinned {
        return Ok(());
    }
    Err(Error::input(format!("{} is unprotected: anyone on the way could change the bytes", shown(url)))
        .help("use https://, or write the file's `blake3` by hand from a trustworthy place"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_needs_a_pin_or_this_machine() {
        let check = |url: &str, pinned| check_plain(&url.parse().unwrap(), pinned).is_ok();
        assert!(check("https://example.org/x", false));
        assert!(check("http://example.org/x", true));
        assert!(check("http://127.0.0.1:8/x", false) && check("http://[::1]/x", false));
        assert!(check("http://localhost/x", false));
        assert!(!check("http://example.org/x", false));
        assert!(!check("http://localhost.example.org/x", false));
    }
}
