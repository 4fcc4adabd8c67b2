//! The HTTP client: resumable downloads and small texts, with retries.

use std::{path::Path, sync::OnceLock, time::Duration};

use reqwest::{
    Url,
    blocking::Client,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
};

use super::{
    http_download::{Came, Download, DownloadState, Known},
    http_error::cut,
    http_exchange::{accepted, encoded, encoding, header, send},
    interruptible::Blocks,
    partial_download::Part,
    redirect::Follower,
    retry::{Failure, retried},
    url_text::shown,
    watch::Watch,
};
use crate::base::{
    error::{Error, Result},
    http::USER_AGENT,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Of one read or write; a slow download as a whole may take as long as it takes.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a small document.
const MAX_TEXT: usize = 64 << 20;
/// An HTTP client that is set up on first use.
pub(super) struct Web {
    follower: OnceLock<Follower>,
    /// Pauses between tries double from this.
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
    ///
    /// # Errors
    /// Where the server doesn't send the whole file in spite of several tries, the disk is full, or the user asks to
    /// stop.
    pub fn download(&self, url: &Url, known: Known, work: &Path, to: &Path, watch: &dyn Watch) -> Result<Came> {
        let part = Part::of(url.as_str(), work);
        let mut state = DownloadState { furthest: part.state().map_or(0, |(have, _)| have), came: Came::default() };
        let download = Download { follower: self.follower()?, url, known, work, part: &part, watch };
        let done = retried(self.backoff, watch, || {
            let before = state.furthest;
            download.request(&mut state).map_err(|failure| match failure {
                Failure::Again { error, after, .. } => {
                    Failure::Again { error, after, progressed: state.furthest > before }
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
        Ok(state.came)
    }

    /// Reads a small document.
    ///
    /// # Errors
    /// Where the server doesn't send it, sends it encoded or larger than [`MAX_TEXT`], or the user asks to stop.
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
