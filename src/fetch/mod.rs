//! Gets files from where they are published and proves that they are the right ones. Knows bytes and URLs, not stages.
//!
//! Whatever the way (web, hub, package index, mirror folder, local file), a file is first written under a temporary name
//! in a work folder, then compared with its pin (BLAKE3, SHA-256 or both), and only then moved to where others see it. Nothing that is
//! downloaded is ever executed.

mod address;
mod archive;
mod conceal;
mod fetcher;
mod gunzip;
mod hub;
mod location;
#[cfg(test)]
mod loopback;
mod mirror;
mod package_index;
mod part;
mod patience;
mod placed_files;
mod redirect;
mod retry;
mod source;
mod watch;
mod web;

pub use fetcher::{Fetched, Fetcher, Settings};
#[doc(hidden)]
pub use package_index::listed;
pub use placed_files::sha256;
pub use source::{Pin, Sha256, Source};
pub use watch::Watch;
