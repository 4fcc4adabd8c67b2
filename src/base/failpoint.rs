//! Failpoints on demand: death at a named instant, so that tests can hit the instants that random kills rarely do.
//!
//! `EMOPIPE_FAILPOINT=POINT:N` ends every process of a run, as `kill -9` would, when it passes the point for the `N`th time.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

struct Failpoint {
    point: String,
    passes_left: AtomicU64,
}

/// Marks an instant. Costs one load where no failpoint is asked for.
pub fn at(point: &str) {
    after(point, || {});
}

/// As [`at`], but first leaves behind what a process would that died halfway through `deed`.
pub fn after(point: &str, deed: impl FnOnce()) {
    static FAILPOINT: OnceLock<Option<Failpoint>> = OnceLock::new();
    let Some(failpoint) = FAILPOINT.get_or_init(read) else { return };
    if failpoint.point == point && failpoint.passes_left.fetch_sub(1, Ordering::Relaxed) == 1 {
        deed();
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

fn read() -> Option<Failpoint> {
    let text = std::env::var("EMOPIPE_FAILPOINT").ok()?;
    let (point, passes) = text.split_once(':')?;
    Some(Failpoint { point: point.to_owned(), passes_left: AtomicU64::new(passes.parse().ok()?) })
}
