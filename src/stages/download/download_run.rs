//! The work of `download`: pinned files from wherever they are to be had.

use std::collections::BTreeMap;

use crate::{
    base::error::Result,
    engine::{Context, Progress},
    fetch::{Fetcher, Source, Watch},
};

/// Fetches every file of the action.
///
/// # Errors
/// If one can't be had, or isn't what is pinned.
pub(super) fn run(cx: &Context, fetcher: &Fetcher) -> Result<()> {
    let pinned: BTreeMap<String, Source> = cx.private()?;
    for (name, source) in &pinned {
        fetcher.check_reachable(source, name)?;
    }
    let mut bytes = 0;
    for (i, (name, source)) in pinned.iter().enumerate() {
        let note = if pinned.len() == 1 { name.clone() } else { format!("{name} ({} of {})", i + 1, pinned.len()) };
        let fetched =
            fetcher.fetch(source, name, cx.out, cx.work_folder()?, &Watched { progress: cx.progress, note })?;
        cx.progress.message(&format!("{name}: {} bytes, BLAKE3 {}", fetched.size, fetched.digest.short()));
        bytes += fetched.size;
    }
    cx.progress.measure("bytes", bytes as f64);
    Ok(())
}

/// Shows a download as the progress of its action.
struct Watched<'a> {
    progress: &'a dyn Progress,
    note: String,
}

impl Watch for Watched<'_> {
    fn bytes(&self, done: u64, total: Option<u64>) {
        self.progress.step(done, total.unwrap_or(done), "byte", &self.note);
    }

    fn note(&self, text: &str) {
        self.progress.message(text);
    }

    fn stop(&self) -> bool {
        self.progress.stop_requested()
    }
}
