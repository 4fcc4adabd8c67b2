//! HTTP: resumable downloads and small texts, with retries.

use std::{
    io::Read,
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use reqwest::{
    StatusCode, Url,
    blocking::{Client, Response},
    header::{
        ACCEPT, ACCEPT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_RANGE, LAST_MODIFIED,
        RANGE, RETRY_AFTER,
    },
};

use super::{
    location::shown,
    part::{About, Part},
    retry::{Failure, retried},
    watch::{Watch, check_stop},
};
use crate::error::{Error, Result};

pub(super) const USER_AGENT: &str = concat!("emopipe/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Of one read or write; a slow download as a whole may take as long as it takes.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: usize = 10;
const MAX_TEXT: u64 = 64 << 20;
/// A body may be this large whatever its source says, so that a changed file still shows its hash.
const ALWAYS_ALLOWED: u64 = 64 << 20;
const BLOCK: usize = 128 << 10;
const BETWEEN_REPORTS: Duration = Duration::from_millis(100);

/// An HTTP client that is set up on first use.
pub(super) struct Web {
    client: OnceLock<Client>,
    backoff: Duration,
}

/// A small document.
pub(super) struct Text {
    pub content_type: String,
    pub body: String,
    /// After redirects: what relative links in it refer to.
    pub url: Url,
}

impl Web {
    pub fn new(backoff: Duration) -> Self {
        Self { client: OnceLock::new(), backoff }
    }

    fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(STALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::custom(|attempt| {
                let from_tls = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
                if attempt.previous().len() > MAX_REDIRECTS {
                    attempt.error("too many redirects")
                } else if from_tls && attempt.url().scheme() == "http" {
                    attempt.error("it redirects from https to unprotected http")
                } else {
                    attempt.follow()
                }
            }))
            // Bytes are wanted as they are, so that lengths and ranges mean what they say.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .build()
            .map_err(|e| Error::environment(format!("can't set up HTTP: {}", root_cause(&e))))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Downloads `url` to `to`, going on with what an earlier try left in `work`. Returns whether it did go on.
    ///
    /// `size` is what the caller expects, in bytes; it bounds what is written, but isn't checked here.
    pub fn download(&self, url: &Url, size: Option<u64>, work: &Path, to: &Path, watch: &dyn Watch) -> Result<bool> {
        let client = self.client()?;
        let part = Part::of(url.as_str(), work);
        let mut seen = Seen { furthest: part.state().map_or(0, |(have, _)| have), continued: false };
        retried(self.backoff, watch, || {
            let before = seen.furthest;
            attempt(client, url, size, &part, &mut seen, watch).map_err(|failure| match failure {
                Failure::Again { error, after, .. } => {
                    Failure::Again { error, after, progressed: seen.furthest > before }
                }
                fatal => fatal,
            })
        })?;
        part.finish(to)?;
        Ok(seen.continued)
    }

    /// Reads a small document.
    pub fn text(&self, url: &Url, accept: &str, watch: &dyn Watch) -> Result<Text> {
        let client = self.client()?;
        retried(self.backoff, watch, || {
            let response = client.get(url.clone()).header(ACCEPT, accept).send().map_err(|e| unsent(url, &e))?;
            let response = accepted(url, response)?;
            let content_type = header(response.headers(), CONTENT_TYPE).unwrap_or_default();
            let end = response.url().clone();
            let mut body = Vec::new();
            response.take(MAX_TEXT).read_to_end(&mut body).map_err(|e| Failure::again(cut(url, &e)))?;
            Ok(Text { content_type, body: String::from_utf8_lossy(&body).into_owned(), url: end })
        })
    }
}

/// Plain http lets anyone on the way change the bytes: only a pin, or never leaving this machine, makes up for that.
pub(super) fn check_plain(url: &Url, pinned: bool) -> Result<()> {
    let local = match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
        None => false,
    };
    if url.scheme() == "https" || local || pinned {
        return Ok(());
    }
    Err(Error::input(format!("{} is unprotected: anyone on the way could change the bytes", shown(url)))
        .help("use https://, or write the file's `blake3` by hand from a trustworthy place"))
}

/// What all requests for one file have come to.
struct Seen {
    /// The most bytes that were ever here.
    furthest: u64,
    /// Whether what is here comes from more than one request.
    continued: bool,
}

/// One request. Leaves the complete file in `part`, or what has come so far.
fn attempt(
    client: &Client,
    url: &Url,
    size: Option<u64>,
    part: &Part,
    seen: &mut Seen,
    watch: &dyn Watch,
) -> Result<(), Failure> {
    let mut request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
    let state = part.state();
    if let Some((have, about)) = &state {
        if about.total == Some(*have) {
            seen.continued = true;
            return Ok(());
        }
        request = request.header(RANGE, format!("bytes={have}-"));
        if let Some(validator) = &about.validator {
            request = request.header(IF_RANGE, validator);
        }
    }
    let response = request.send().map_err(|e| unsent(url, &e))?;
    if state.is_some() && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        part.discard();
        return Err(Failure::again(Error::environment(format!("{} has changed meanwhile", shown(url)))));
    }
    let mut response = accepted(url, response)?;

    let (mut writer, total) = match state {
        Some((have, about)) if response.status() == StatusCode::PARTIAL_CONTENT => {
            let range = header(response.headers(), CONTENT_RANGE).and_then(|text| content_range(&text));
            let same_total = |total: Option<u64>| about.total.is_none() || total.is_none() || about.total == total;
            let new = validator(response.headers());
            let same_file = about.validator.is_none() || new.is_none() || about.validator == new;
            match range {
                Some((start, total)) if start == have && same_total(total) && same_file => {
                    seen.continued = true;
                    (part.go_on(have)?, total.or(about.total))
                }
                _ => {
                    part.discard();
                    return Err(Failure::again(Error::environment(format!("{} has changed meanwhile", shown(url)))));
                }
            }
        }
        // The server ignores ranges, or the file has changed: it sends everything.
        _ => {
            let about = About { validator: validator(response.headers()), total: response.content_length() };
            seen.continued = false;
            (part.begin(&about)?, about.total)
        }
    };

    let mut block = vec![0; BLOCK];
    let mut reported = Instant::now();
    loop {
        check_stop(watch)?;
        let n = response.read(&mut block).map_err(|e| Failure::again(cut(url, &e)))?;
        if n == 0 {
            break;
        }
        writer.append(&block[..n])?;
        seen.furthest = writer.have.max(seen.furthest);
        if let Some(size) = size.filter(|size| writer.have > ALWAYS_ALLOWED.max(*size)) {
            part.discard();
            return Err(Failure::Final(
                Error::input(format!("{} is larger than the {size} bytes that its source states", shown(url)))
                    .help("nothing was kept; the file has changed, or `size` is wrong"),
            ));
        }
        if reported.elapsed() >= BETWEEN_REPORTS {
            reported = Instant::now();
            watch.bytes(writer.have, total.or(size));
        }
    }
    watch.bytes(writer.have, total.or(size));
    match total {
        Some(total) if total != writer.have => Err(Failure::again(Error::environment(format!(
            "{} ended after {} of {total} bytes",
            shown(url),
            writer.have
        )))),
        _ => Ok(()),
    }
}

/// The response, if it has the document.
fn accepted(url: &Url, response: Response) -> Result<Response, Failure> {
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

fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// What tells this version of the file from others. Weak ETags don't promise the same bytes.
fn validator(headers: &HeaderMap) -> Option<String> {
    header(headers, ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| header(headers, LAST_MODIFIED))
}

/// First byte and total length of `bytes 5-9/10`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

/// A request that got no answer.
fn unsent(url: &Url, e: &reqwest::Error) -> Failure {
    let host = url.host_str().unwrap_or("the host");
    let cause = root_cause(e);
    if e.is_redirect() || e.is_builder() {
        return Failure::Final(Error::input(format!("can't follow {}: {cause}", shown(url))));
    }
    let error = Error::environment(format!("can't reach {host}: {cause}"));
    if cause.to_lowercase().contains("certificate") {
        return Failure::Final(error.help(
            "this network may re-sign its traffic: add its certificate to the system's store, or name it with SSL_CERT_FILE",
        ));
    }
    Failure::again(error)
}

/// An answer that broke off.
fn cut(url: &Url, e: &std::io::Error) -> Error {
    Error::environment(format!("the connection to {} broke: {}", url.host_str().unwrap_or("the host"), root_cause(e)))
}

/// The innermost error says what happened; those around it only say where.
pub(super) fn root_cause(e: &dyn std::error::Error) -> String {
    let mut cause = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
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

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("bytes */10"), None);
    }
}
