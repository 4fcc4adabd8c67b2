//! HTTP: resumable downloads and small texts, with retries.

use std::{
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use reqwest::{
    StatusCode, Url, Version,
    blocking::{Client, Response},
    header::{
        ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
        HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER, TRANSFER_ENCODING,
    },
};

use super::{
    address::{INSIDE, literal},
    location::shown,
    part::{About, Part, Writer, room},
    patience::{Blocks, unless_stopped},
    redirect::Follower,
    retry::{Failure, retried},
    watch::Watch,
};
use crate::base::error::{Error, Result};

pub(super) const USER_AGENT: &str = concat!("emopipe/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Of one read or write; a slow download as a whole may take as long as it takes.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_TEXT: usize = 64 << 20;
/// A body may be this large whatever its source says, so that a changed file still shows its hash.
const ALWAYS_ALLOWED: u64 = 64 << 20;
/// Bytes of a body whose size neither the source nor the server states.
const UNSTATED: u64 = 4 << 30;
const BETWEEN_REPORTS: Duration = Duration::from_millis(100);

/// An HTTP client that is set up on first use.
pub(super) struct Web {
    follower: OnceLock<Follower>,
    backoff: Duration,
    #[cfg(test)]
    pub pretend_public: bool,
}

/// A small document.
pub(super) struct Text {
    pub content_type: String,
    pub body: String,
    /// After redirects: what relative links in it refer to.
    pub url: Url,
}

/// What is known of a file before it is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Bytes. Bounds what is written, but isn't checked here.
    pub size: Option<u64>,
    /// Whether a hash will tell if the right bytes came.
    pub pinned: bool,
}

/// How a file came.
#[derive(Debug, Default)]
pub(super) struct Came {
    /// In more than one piece.
    pub resumed: bool,
    /// The server calls the bytes an encoding of the file, such as `gzip`, though nobody asked for one.
    pub encoding: Option<String>,
}

impl Web {
    pub fn new(backoff: Duration) -> Self {
        Self {
            follower: OnceLock::new(),
            backoff,
            #[cfg(test)]
            pretend_public: false,
        }
    }

    fn follower(&self) -> Result<&Follower> {
        if let Some(follower) = self.follower.get() {
            return Ok(follower);
        }
        let settings = || {
            Client::builder()
                .user_agent(USER_AGENT)
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(STALL_TIMEOUT)
                // Bytes are wanted as they are, so that lengths and ranges mean what they say.
                .no_gzip()
                .no_brotli()
                .no_zstd()
                .no_deflate()
        };
        let follower = Follower::new(settings)?;
        #[cfg(test)]
        let follower = follower.pretending(self.pretend_public);
        Ok(self.follower.get_or_init(|| follower))
    }

    /// Downloads `url` to `to`, going on with what an earlier try left in `work`.
    pub fn download(&self, url: &Url, known: Known, work: &Path, to: &Path, watch: &dyn Watch) -> Result<Came> {
        let part = Part::of(url.as_str(), work);
        let mut seen = Seen { furthest: part.state().map_or(0, |(have, _)| have), came: Came::default() };
        let once = Once { follower: self.follower()?, url, known, work, part: &part, watch };
        let done = retried(self.backoff, watch, || {
            let before = seen.furthest;
            once.run(&mut seen).map_err(|failure| match failure {
                Failure::Again { error, after, .. } => {
                    Failure::Again { error, after, progressed: seen.furthest > before }
                }
                fatal => fatal,
            })
        });
        if let Err(e) = done {
            // What nobody can go on with would only take room.
            if part.state().is_none() {
                part.discard();
            }
            return Err(e);
        }
        part.finish(to)?;
        Ok(seen.came)
    }

    /// Reads a small document.
    pub fn text(&self, url: &Url, accept: &'static str, watch: &dyn Watch) -> Result<Text> {
        let follower = self.follower()?;
        retried(self.backoff, watch, || {
            let headers = HeaderMap::from_iter([
                (ACCEPT, HeaderValue::from_static(accept)),
                (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            ]);
            let response = accepted(url, send(follower, url, headers, watch)?)?;
            if let Some(encoding) = encoding(response.headers()) {
                return Err(encoded(url, &encoding));
            }
            let content_type = header(response.headers(), CONTENT_TYPE).unwrap_or_default();
            let end = response.url().clone();
            let mut blocks = Blocks::of(response)?;
            let mut body = Vec::new();
            loop {
                let block = blocks.next(watch)?.map_err(|e| Failure::again(cut(url, &e)))?;
                if block.is_empty() {
                    break;
                }
                body.extend_from_slice(&block);
                if body.len() > MAX_TEXT {
                    let message = format!("{} sends more than {MAX_TEXT} bytes where a list is expected", shown(url));
                    return Err(Failure::Final(Error::input(message)));
                }
            }
            Ok(Text { content_type, body: String::from_utf8_lossy(&body).into_owned(), url: end })
        })
    }
}

fn send(follower: &Follower, url: &Url, headers: HeaderMap, watch: &dyn Watch) -> Result<Response, Failure> {
    let (follower, url) = (follower.clone(), url.clone());
    unless_stopped(watch, move || follower.get(&url, &headers))?
}

/// Plain http lets anyone on the way change the bytes: only a pin, or never leaving this machine, makes up for that.
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

/// What all requests for one file have come to.
struct Seen {
    /// The most bytes that were ever here.
    furthest: u64,
    came: Came,
}

/// What is needed for one request.
struct Once<'a> {
    follower: &'a Follower,
    url: &'a Url,
    known: Known,
    work: &'a Path,
    part: &'a Part,
    watch: &'a dyn Watch,
}

/// Where the bytes of a response go.
struct Intake<'a> {
    writer: Writer<'a>,
    /// Bytes of the whole file, as far as the server says.
    total: Option<u64>,
    /// Byte after the last one of this response, where it is a part.
    end: Option<u64>,
}

impl Once<'_> {
    /// Leaves the complete file in `part`, or what has come so far.
    fn run(&self, seen: &mut Seen) -> Result<(), Failure> {
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let state = self.part.state();
        if let Some((have, about)) = &state {
            if about.total == Some(*have) {
                seen.came.resumed = true;
                return Ok(());
            }
            headers.insert(RANGE, HeaderValue::from_str(&format!("bytes={have}-")).map_err(|_| self.changed())?);
            if let Some(validator) = about.validator.as_ref().and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(IF_RANGE, validator);
            }
        }
        let response = send(self.follower, self.url, headers, self.watch)?;
        if state.is_some() && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(self.changed());
        }
        let response = accepted(self.url, response)?;
        seen.came.encoding = encoding(response.headers());
        if let (Some(encoding), false) = (&seen.came.encoding, self.known.pinned) {
            self.part.discard();
            return Err(encoded(self.url, encoding));
        }
        let intake = self.intake(state, &response, seen)?;
        self.take(intake, response, seen)
    }

    /// What the response is of the file.
    fn intake(&self, state: Option<(u64, About)>, response: &Response, seen: &mut Seen) -> Result<Intake<'_>, Failure> {
        let headers = response.headers();
        let validator = validator(headers);
        if response.status() != StatusCode::PARTIAL_CONTENT {
            // The server ignores ranges, or the file has changed: it sends everything.
            let total = response.content_length();
            if total.is_none() && self.known.size.is_none() && !self.known.pinned && !tells_its_end(response) {
                return Err(Failure::Final(
                    Error::input(format!(
                        "{} doesn't say where the file ends, so nobody could tell a part from all of it",
                        shown(self.url)
                    ))
                    .help("state the file's `size`, or its `blake3` or `sha256` from a place that you trust"),
                ));
            }
            seen.came.resumed = false;
            return Ok(Intake { writer: self.part.begin(&About { validator, total })?, total, end: None });
        }
        let range = header(headers, CONTENT_RANGE).and_then(|text| content_range(&text));
        match (state, range) {
            (Some((have, about)), Some(range)) => {
                let same_total = about.total.is_none_or(|total| total == range.total);
                let same_file = about.validator.is_none() || validator.is_none() || about.validator == validator;
                if range.start != have || !same_total || !same_file {
                    return Err(self.changed());
                }
                seen.came.resumed = true;
                Ok(Intake { writer: self.part.go_on(have)?, total: Some(range.total), end: Some(range.end) })
            }
            (Some(_), None) => Err(self.changed()),
            // A part that wasn't asked for is as good as one that was, if it is the first.
            (None, Some(range)) if range.start == 0 => {
                let about = About { validator, total: Some(range.total) };
                Ok(Intake { writer: self.part.begin(&about)?, total: about.total, end: Some(range.end) })
            }
            (None, _) => Err(Failure::Final(Error::input(format!(
                "{} answers with a part of the file (206) where all of it was asked for",
                shown(self.url)
            )))),
        }
    }

    fn take(&self, intake: Intake, response: Response, seen: &mut Seen) -> Result<(), Failure> {
        let Intake { mut writer, total, end } = intake;
        let bound = self.bound(writer.have, total)?;
        let mut blocks = Blocks::of(response)?;
        let mut reported = Instant::now();
        loop {
            let block = blocks.next(self.watch)?.map_err(|e| Failure::again(cut(self.url, &e)))?;
            if block.is_empty() {
                break;
            }
            let have = writer.have + block.len() as u64;
            if have > bound {
                self.part.discard();
                return Err(self.too_large(bound));
            }
            if end.is_some_and(|end| have > end) {
                return Err(self.changed());
            }
            writer.append(&block).inspect_err(|_| self.part.discard())?;
            seen.furthest = writer.have.max(seen.furthest);
            if reported.elapsed() >= BETWEEN_REPORTS {
                reported = Instant::now();
                self.watch.bytes(writer.have, total.or(self.known.size));
            }
        }
        self.watch.bytes(writer.have, total.or(self.known.size));
        match total {
            Some(total) if total != writer.have => Err(Failure::again(Error::environment(format!(
                "{} ended after {} of {total} bytes",
                shown(self.url),
                writer.have
            )))),
            _ => Ok(()),
        }
    }

    /// Bytes that the file may have. What nobody states may have half of the free space at most.
    fn bound(&self, have: u64, total: Option<u64>) -> Result<u64, Failure> {
        let room = room(self.work)?;
        if let Some(total) = total.filter(|total| total.saturating_sub(have) > room) {
            self.part.discard();
            let message =
                format!("{} has {total} bytes, and {} has room for {room}", shown(self.url), self.work.display());
            return Err(Failure::Final(Error::environment(message).help("free some space, and run again")));
        }
        Ok(match (self.known.size, total) {
            (Some(size), _) => size.max(ALWAYS_ALLOWED),
            (None, Some(total)) => total,
            (None, None) => UNSTATED.min((have + room) / 2),
        })
    }

    fn too_large(&self, bound: u64) -> Failure {
        let (url, help) = (shown(self.url), "nothing was kept; the file has changed, or `size` is wrong");
        Failure::Final(match self.known.size {
            Some(size) => {
                Error::input(format!("{url} is larger than the {size} bytes that its source states")).help(help)
            }
            None => Error::input(format!("{url} sends more than {bound} bytes and doesn't say how many there are"))
                .help("nothing was kept; if the file is that large, state its `size`"),
        })
    }

    /// What is here and what the server has don't belong together.
    fn changed(&self) -> Failure {
        self.part.discard();
        Failure::again(Error::environment(format!("{} has changed meanwhile", shown(self.url))))
    }
}

/// Whether one can tell from the way in which the response is sent that all of it has come.
fn tells_its_end(response: &Response) -> bool {
    response.version() > Version::HTTP_11
        || header(response.headers(), TRANSFER_ENCODING).is_some_and(|text| text.to_lowercase().contains("chunked"))
}

fn encoding(headers: &HeaderMap) -> Option<String> {
    let all: Vec<_> = headers.get_all(CONTENT_ENCODING).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
    let text = all.join(", ").trim().to_lowercase();
    Some(text).filter(|text| !text.is_empty() && text != "identity")
}

fn encoded(url: &Url, encoding: &str) -> Failure {
    let message = format!("{} sends the file encoded as `{encoding}`, which nobody asked for", shown(url));
    Failure::Final(Error::input(message).help(
        "which of the two is the file, these bytes or the decoded ones? Write its `blake3` or `sha256` from a place that you trust,          or use another source",
    ))
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

/// `bytes 5-9/10`.
#[derive(Debug, PartialEq)]
struct Range {
    start: u64,
    /// Byte after the last one.
    end: u64,
    total: u64,
}

/// A range that makes sense; one without a total could end anywhere.
fn content_range(text: &str) -> Option<Range> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = Range { start: number(start)?, end: number(last)?.checked_add(1)?, total: number(total)? };
    (range.start < range.end && range.end <= range.total).then_some(range)
}

/// A request that got no answer.
pub(super) fn unsent(url: &Url, e: &reqwest::Error) -> Failure {
    let host = url.host_str().unwrap_or("the host");
    let cause = root_cause(e);
    if e.is_redirect() || e.is_builder() {
        return Failure::Final(Error::input(format!("can't follow {}: {cause}", shown(url))));
    }
    if cause.ends_with(INSIDE) {
        return Failure::Final(Error::input(format!("{} redirects, and that isn't followed: {cause}", shown(url))));
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
        assert_eq!(content_range("bytes 5-9/10"), Some(Range { start: 5, end: 10, total: 10 }));
        for nonsense in
            ["bytes 5-9/*", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "5-9/10", "bytes 5-18446744073709551615/1"]
        {
            assert_eq!(content_range(nonsense), None, "{nonsense}");
        }
    }
}
