//! Gets files from where they are published and proves that they are the right ones. Knows bytes and URLs, not stages.
//!
//! Whatever the way (web, hub, package index, mirror folder, local file), a file is first written under a temporary name
//! in a work folder, then compared with its pin (BLAKE3, SHA-256 or both), and only then moved to where others see it. Nothing that is
//! downloaded is ever executed.

mod address;
mod archive;
mod archive_format;
mod bounded_read;
mod conceal;
mod fetch_settings;
mod fetched;
mod fetcher;
mod gunzip;
mod http_download;
mod http_error;
mod http_exchange;
mod hub;
mod interruptible;
mod location;
#[cfg(test)]
mod loopback;
mod mirror;
mod package_archives;
mod package_index;
mod package_name;
mod partial_download;
mod pip_config;
mod placed_files;
mod plain_http;
mod redirect;
mod retry;
mod source;
mod unavailable;
mod url_text;
mod watch;
mod web;

pub use fetch_settings::Settings;
pub use fetched::{Fetched, sha256};
pub use fetcher::Fetcher;
#[doc(hidden)]
pub use package_index::listed;
pub use source::{Pin, Sha256, Source};
pub use watch::Watch;
