//! Gets files from where they are published and proves that they are the right ones. Knows bytes and URLs, not stages.
//!
//! Whatever the way (web, hub, package index, mirror folder, local file), a file is first written under a temporary name
//! in a work folder, then compared with its pin (BLAKE3, SHA-256 or both), and only then moved to where others see it. Nothing that is
//! downloaded is ever executed.

mod address;
mod archive;
mod conceal;
mod fetcher;
mod files;
mod gunzip;
mod hub;
mod index;
mod location;
mod mirror;
mod part;
mod patience;
mod redirect;
mod retry;
mod source;
#[cfg(test)]
mod testing;
mod watch;
mod web;

pub use fetcher::{Fetched, Fetcher, Settings};
pub use files::sha256;
#[doc(hidden)]
pub use index::listed;
pub use source::{Pin, Sha256, Source};
pub use watch::Watch;
