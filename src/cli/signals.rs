//! Signals that ask a run to stop.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::base::error::Error;

/// Counts SIGINT and SIGTERM instead of dying of them, and goes on when the terminal closes.
///
/// # Errors
/// If the system lets nobody listen.
pub fn listen() -> Result<Arc<AtomicUsize>, Error> {
    let stop = Arc::new(AtomicUsize::new(0));
    let deaf = |e| Error::environment(format!("can't listen for signals: {e}"));
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default()).map_err(deaf)?;
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let count = Arc::clone(&stop);
        // SAFETY: the handler only adds to an atomic, which is allowed in a signal handler.
        unsafe {
            signal_hook::low_level::register(signal, move || {
                count.fetch_add(1, Ordering::Relaxed);
            })
        }
        .map_err(deaf)?;
    }
    Ok(stop)
}
