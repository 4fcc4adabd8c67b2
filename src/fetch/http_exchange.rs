//! One request, and what its response says of a document.

use std::time::Duration;

use reqwest::{
    StatusCode, Url, Version,
    blocking::Response,
    header::{CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, RETRY_AFTER, TRANSFER_ENCODING},
};

use super::{interruptible::unless_stopped, redirect::Follower, retry::Failure, url_text::shown, watch::Watch};
use crate::base::error::{Error, Result};

/// The response to one request, redirects followed.
///
/// # Errors
/// Where nobody answers, a redirect isn't followed, or the user asks to stop.
pub(super) fn send(follower: &Follower, url: &Url, headers: HeaderMap, watch: &dyn Watch) -> Result<Response, Failure> {
    let (follower, url) = (follower.clone(), url.clone());
    unless_stopped(watch, move || follower.get(&url, &headers))?
}

/// Whether one can tell from the way in which the response is sent that all of it has come.
pub(super) fn tells_its_end(response: &Response) -> bool {
    response.version() > Version::HTTP_11
        || header(response.headers(), TRANSFER_ENCODING).is_some_and(|text| text.to_lowercase().contains("chunked"))
}

pub(super) fn encoding(headers: &HeaderMap) -> Option<String> {
    let all: Vec<_> = headers.get_all(CONTENT_ENCODING).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
    let text = all.join(", ").trim().to_lowercase();
    Some(text).filter(|text| !text.is_empty() && text != "identity")
}

pub(super) fn encoded(url: &Url, encoding: &str) -> Failure {
    let message = format!("{} sends the file encoded as `{encoding}`, which nobody asked for", shown(url));
    Failure::Final(Error::input(message).help(
        "which of the two is the file, these bytes or the decoded ones? Write its `blake3` or `sha256` from a place that you trust, or use another source",
    ))
}

/// The response, if it has the document.
///
/// # Errors
/// What the status says. Another try may help where the server is overloaded or fails.
pub(super) fn accepted(url: &Url, response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status == StatusCode::OK || status == StatusCode::PARTIAL_CONTENT {
        return Ok(response);
    }
    let message = format!("{} answers {status}", shown(url));
    let passing = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if passing || status.is_server_error() {
        let after =
            header(response.headers(), RETRY_AFTER).and_then(|s| s.trim().parse().ok()).map(Duration::from_secs);
        return Err(Failure::Again { error: Error::environment(message), after, progressed: false });
    }
    let error = Error::input(message);
    Err(Failure::Final(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => error
            .help("the server wants a permission that emopipe doesn't have; get the file by hand, and use a mirror"),
        _ => error,
    }))
}

pub(super) fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// What tells this version of the file from others. Weak ETags don't promise the same bytes.
pub(super) fn validator(headers: &HeaderMap) -> Option<String> {
    header(headers, ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| header(headers, LAST_MODIFIED))
}

/// `bytes 5-9/10`.
#[derive(Debug, PartialEq)]
pub(super) struct Range {
    /// The first byte.
    pub start: u64,
    /// Byte after the last one.
    pub end: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

/// A range that makes sense; one without a total could end anywhere.
pub(super) fn content_range(text: &str) -> Option<Range> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = Range { start: number(start)?, end: number(last)?.checked_add(1)?, total: number(total)? };
    (range.start < range.end && range.end <= range.total).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some(Range { start: 5, end: 10, total: 10 }));
        for nonsense in
            ["bytes 5-9/*", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "5-9/10", "bytes 5-18446744073709551615/1"]
        {
            assert_eq!(content_range(nonsense), None, "{nonsense}");
        }
    }
}
