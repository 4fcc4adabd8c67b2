//! The worker's side: one [`WorkerRequest`] comes as a JSON line on its standard input. A line `stop` after it asks the worker to
//! end at its next checkpoint, and so does the end of the pipe, which means that the scheduler died. It answers with
//! [`ActionEvent`](super::ActionEvent)s as JSON lines on its standard output.

use std::{
    io::{BufRead, BufReader, Write},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::reporter::Reporter;
use crate::{
    base::error::{Error, Result},
    engine::{Progress, Registry, execute::execute, worker_request::WorkerRequest},
    process::{
        self,
        threads::{no_thread, panicked},
    },
    store::{ActionResult, Store},
};

/// The worker's side: reads a request, runs it, reports. The exit code is 0 also where the action failed; anything else
/// means that the process itself broke.
///
/// # Errors
/// If there is no request on the standard input.
pub fn serve(registry: Registry) -> Result<()> {
    let mut line = String::new();
    let mut stdin = BufReader::new(std::io::stdin());
    stdin.read_line(&mut line).map_err(|e| Error::internal(format!("a worker got no request: {e}")))?;
    process::take_name();
    let request: WorkerRequest = serde_json::from_str(&line)
        .map_err(|e| Error::internal(e).help("`emopipe worker` is started by `emopipe run`, not by hand"))?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let watch = std::thread::Builder::new().spawn(move || {
        // Either a line `stop` or the end of the pipe; both mean the same.
        let _ = stdin.read_line(&mut String::new());
        flag.store(true, Ordering::Relaxed);
    });
    let out = Mutex::new(std::io::stdout());
    let reporter = Reporter::new(stop, |message| {
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        // A scheduler that died can't read; the action still ends at its next checkpoint.
        let _ = serde_json::to_writer(&mut *out, &message)
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
    });
    let done = match watch {
        Ok(_) => std::panic::catch_unwind(AssertUnwindSafe(|| run(&request, registry, &reporter)))
            .unwrap_or_else(|payload| Err(panicked(&request.job.action, payload.as_ref()))),
        Err(e) => Err(no_thread(&e)),
    };
    reporter.end(done);
    Ok(())
}

fn run(request: &WorkerRequest, registry: Registry, progress: &dyn Progress) -> Result<ActionResult> {
    let kind = registry
        .iter()
        .find(|k| k.name() == request.job.kind)
        .ok_or_else(|| Error::internal(format!("no stage kind `{}`", request.job.kind)))?;
    process::threads::prepare()?;
    let store = Store::open(&request.store)?;
    execute(request, *kind, &store, progress)
}
