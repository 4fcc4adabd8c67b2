//! A resumable download: each request goes on with what earlier ones left.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use reqwest::{
    StatusCode, Url,
    blocking::Response,
    header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderValue, IF_RANGE, RANGE},
};

use super::{
    http_error::cut,
    http_exchange::{accepted, content_range, encoded, encoding, header, send, tells_its_end, validator},
    interruptible::Blocks,
    partial_download::{About, Part, Writer, room},
    redirect::Follower,
    retry::Failure,
    url_text::shown,
    watch::Watch,
};
use crate::base::error::{Error, Result};

/// A body may be this large whatever its source says, so that a changed file still shows its hash.
const ALWAYS_ALLOWED: u64 = 64 << 20;

/// Bytes of a body whose size neither the source nor the server states.
const UNSTATED: u64 = 4 << 30;

const BETWEEN_REPORTS: Duration = Duration::from_millis(100);

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

/// What all requests for one file have come to.
pub(super) struct DownloadState {
    /// The most bytes that were ever here.
    pub furthest: u64,
    pub came: Came,
}

/// A file that is asked for, and where its bytes go.
pub(super) struct Download<'a> {
    pub follower: &'a Follower,
    pub url: &'a Url,
    pub known: Known,
    pub work: &'a Path,
    pub part: &'a Part,
    pub watch: &'a dyn Watch,
}

/// Where the bytes of a response go.
struct Intake<'a> {
    writer: Writer<'a>,
    /// Bytes of the whole file, as far as the server says.
    total: Option<u64>,
    /// Byte after the last one of this response, where it is a part.
    end: Option<u64>,
}

impl Download<'_> {
    /// Leaves the complete file in `part`, or what has come so far.
    ///
    /// # Errors
    /// Where the server doesn't answer, refuses, or sends what can't be told from the whole file; the file changed
    /// meanwhile; or the disk is full.
    pub fn request(&self, state: &mut DownloadState) -> Result<(), Failure> {
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let earlier = self.part.state();
        if let Some((have, about)) = &earlier {
            if about.total == Some(*have) {
                state.came.resumed = true;
                return Ok(());
            }
            headers.insert(RANGE, HeaderValue::from_str(&format!("bytes={have}-")).map_err(|_| self.changed())?);
            if let Some(validator) = about.validator.as_ref().and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(IF_RANGE, validator);
            }
        }
        let response = send(self.follower, self.url, headers, self.watch)?;
        if earlier.is_some() && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(self.changed());
        }
        let response = accepted(self.url, response)?;
        state.came.encoding = encoding(response.headers());
        if let (Some(encoding), false) = (&state.came.encoding, self.known.pinned) {
            self.part.discard();
            return Err(encoded(self.url, encoding));
        }
        let intake = self.intake(earlier, &response, state)?;
        self.take(intake, response, state)
    }

    /// What the response is of the file.
    fn intake(
        &self,
        earlier: Option<(u64, About)>,
        response: &Response,
        state: &mut DownloadState,
    ) -> Result<Intake<'_>, Failure> {
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
            state.came.resumed = false;
            return Ok(Intake { writer: self.part.begin(&About { validator, total })?, total, end: None });
        }
        let range = header(headers, CONTENT_RANGE).and_then(|text| content_range(&text));
        match (earlier, range) {
            (Some((have, about)), Some(range)) => {
                let same_total = about.total.is_none_or(|total| total == range.total);
                let same_file = about.validator.is_none() || validator.is_none() || about.validator == validator;
                if range.start != have || !same_total || !same_file {
                    return Err(self.changed());
                }
                state.came.resumed = true;
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

    fn take(&self, intake: Intake, response: Response, state: &mut DownloadState) -> Result<(), Failure> {
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
            state.furthest = writer.have.max(state.furthest);
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
