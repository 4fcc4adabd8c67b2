//! How a download is watched and stopped.

use crate::base::error::{Error, Result};

/// Told about a download while it runs. `()` watches nothing.
pub trait Watch {
    /// `done` of `total` bytes have arrived; `total` is unknown where the server doesn't say.
    fn bytes(&self, done: u64, total: Option<u64>);

    /// One line for people: a retry, a fallback.
    fn note(&self, text: &str);

    /// Whether the user asked to stop. What has arrived so far is kept for the next time.
    fn stop(&self) -> bool;
}

impl Watch for () {
    fn bytes(&self, _: u64, _: Option<u64>) {}
    fn note(&self, _: &str) {}
    fn stop(&self) -> bool {
        false
    }
}

/// An error where the user asked to stop.
///
/// # Errors
/// Then alone.
pub(super) fn check_stop(watch: &dyn Watch) -> Result<()> {
    if watch.stop() { Err(Error::interrupted("download stopped on request")) } else { Ok(()) }
}
