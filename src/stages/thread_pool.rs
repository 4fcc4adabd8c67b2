//! The threads that an action may use.

use rayon::ThreadPoolBuilder;

use crate::{
    base::error::{Error, Result},
    engine::Context,
};

/// Does `work` on as many threads as the job may use.
///
/// # Errors
/// If the threads can't be started, and those of `work`.
pub(super) fn on_threads<T: Send>(cx: &Context, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    ThreadPoolBuilder::new()
        .num_threads(cx.job.threads.max(1))
        .build()
        .map_err(|e| Error::environment(format!("can't start threads: {e}")))?
        .install(work)
}
