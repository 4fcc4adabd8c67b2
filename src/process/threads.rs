//! Threads that can't be started are an error for people. Libraries that start theirs unasked would panic instead, so they are
//! started, or tried, before.

use std::any::Any;

use rayon::ThreadPoolBuilder;

use crate::base::error::{Error, Result};

/// What to do where the system gives no more processes or threads.
pub const FEWER: &str =
    "raise the limit of processes (`ulimit -u`, or that of the container), or run less at once: `--jobs 1`";

/// How libraries say that the system gave them no thread.
const NO_THREAD: [&str; 2] = ["spawn worker thread", "failed to spawn thread"];

/// Starts the threads that hashing and planning share.
///
/// # Errors
/// If there can't be so many.
pub fn prepare() -> Result<()> {
    ThreadPoolBuilder::new().build_global().map_err(|e| no_thread(&e))
}

/// Whether one more thread can be started.
///
/// # Errors
/// If it can't.
pub fn try_one() -> Result<()> {
    std::thread::Builder::new().spawn(|| {}).map(|thread| drop(thread.join())).map_err(|e| no_thread(&e))
}

/// An error for a thread that couldn't be started.
pub fn no_thread(e: &dyn std::error::Error) -> Error {
    Error::environment(format!("can't start a thread: {e}")).help(FEWER)
}

/// An error for a panic while `action` was carried out.
pub fn panicked(action: &str, payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("nobody knows why");
    if NO_THREAD.iter().any(|known| text.contains(known)) {
        return Error::environment(format!("can't start a thread for {action}: {text}")).help(FEWER);
    }
    Error::internal(format!("{action} panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Category;

    #[test]
    fn a_missing_thread_is_told_from_a_defect() {
        let category = |text: &str| panicked("x", &text.to_owned()).category;
        assert_eq!(category("OS can't spawn worker thread: Resource temporarily unavailable"), Category::Environment);
        assert_eq!(category("index out of bounds"), Category::Internal);
        assert_eq!(panicked("x", &"plain").message, "x panicked: plain");
    }
}
