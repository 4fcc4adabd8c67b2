//! Worker processes. The scheduler writes one [`Order`] as a JSON line to a worker's standard input and keeps the pipe open:
//! a line `stop` asks it to end at its next checkpoint, and so does the end of the pipe, which means that the scheduler died.
//! The worker answers with [`Message`]s as JSON lines on its standard output; what it prints otherwise goes to a log file.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use super::{
    Progress, Registry,
    execute::{Order, execute},
    worker_env,
};
use crate::{
    base::error::{Error, IoAt, Result},
    process::{
        self, OomKills,
        threads::{FEWER, no_thread, panicked},
    },
    store::{ActionResult, Store},
};

/// What a running action tells the scheduler.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case")]
pub enum Message {
    Progress { done: u64, total: u64, unit: String, note: String },
    Text { text: String },
    Measured { name: String, value: f64 },
    Done { outcome: ActionResult },
    Failed { error: Error },
}

/// Sends progress through a channel or pipe, at most some twenty times a second.
pub struct Reporter<F: Fn(Message) + Sync> {
    send: F,
    stop: Arc<AtomicBool>,
    last: Mutex<Option<std::time::Instant>>,
}

const MIN_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);

impl<F: Fn(Message) + Sync> Reporter<F> {
    pub fn new(stop: Arc<AtomicBool>, send: F) -> Self {
        Self { send, stop, last: Mutex::new(None) }
    }
}

impl<F: Fn(Message) + Sync> Progress for Reporter<F> {
    fn step(&self, done: u64, total: u64, unit: &str, note: &str) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if done < total && last.is_some_and(|t| t.elapsed() < MIN_INTERVAL) {
            return;
        }
        *last = Some(std::time::Instant::now());
        (self.send)(Message::Progress { done, total, unit: unit.to_owned(), note: note.to_owned() });
    }

    fn message(&self, text: &str) {
        (self.send)(Message::Text { text: text.to_owned() });
    }

    fn measure(&self, name: &str, value: f64) {
        (self.send)(Message::Measured { name: name.to_owned(), value });
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The worker's side: reads an order, runs it, reports. The exit code is 0 also where the action failed; anything else
/// means that the process itself broke.
pub fn serve(registry: Registry) -> Result<()> {
    let mut line = String::new();
    let mut stdin = BufReader::new(std::io::stdin());
    stdin.read_line(&mut line).map_err(|e| Error::internal(format!("a worker got no order: {e}")))?;
    process::take_name();
    let order: Order = serde_json::from_str(&line)
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
        let mut out = out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A scheduler that died can't read; the action still ends at its next checkpoint.
        let _ = serde_json::to_writer(&mut *out, &message)
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
    });
    let done = match watch {
        Ok(_) => std::panic::catch_unwind(AssertUnwindSafe(|| run(&order, registry, &reporter)))
            .unwrap_or_else(|payload| Err(panicked(&order.job.action, payload.as_ref()))),
        Err(e) => Err(no_thread(&e)),
    };
    (reporter.send)(match done {
        Ok(outcome) => Message::Done { outcome },
        Err(error) => Message::Failed { error },
    });
    Ok(())
}

fn run(order: &Order, registry: Registry, progress: &dyn Progress) -> Result<ActionResult> {
    let kind = registry
        .iter()
        .find(|k| k.name() == order.job.kind)
        .ok_or_else(|| Error::internal(format!("no stage kind `{}`", order.job.kind)))?;
    process::threads::prepare()?;
    let store = Store::open(&order.store)?;
    execute(order, *kind, &store, progress)
}

/// The scheduler's side of a worker.
pub struct Handle {
    stdin: Arc<Mutex<Option<ChildStdin>>>,
    child: Arc<Mutex<Child>>,
}

impl Handle {
    /// Asks the worker to end at its next checkpoint.
    pub fn stop(&self) {
        self.stdin.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }

    pub fn kill(&self) {
        let _ = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner).kill();
    }
}

/// What a worker gets of this process's environment, and more.
pub struct Environment<'a> {
    /// Added.
    pub extra: &'a [(String, String)],
    /// Passed on, where the action names them: see [`super::Resolved::variables`].
    pub named: Option<&'a [String]>,
    /// Not passed on, where it names none.
    pub withheld: &'a [String],
}

/// Starts a worker. `send` gets its messages, in order, the last one being [`Message::Done`] or [`Message::Failed`]; the latter
/// comes when everything that the worker started has ended.
///
/// # Errors
/// If there can be no more processes or threads.
pub fn spawn(
    order: &Order,
    env: &Environment,
    log: PathBuf,
    send: impl Fn(Message) + Send + 'static,
) -> Result<Handle> {
    let stderr = File::create(&log).io_at("create the worker's log", &log)?;
    let threads = order.job.threads.to_string();
    let mut command = process::this_program("worker")?;
    worker_env::inherit(&mut command, env.named, env.withheld);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .envs(worker_env::THREADS.map(|name| (name, &threads)))
        .envs(env.extra.iter().map(|(k, v)| (k, v)));
    // Out of the terminal's process group: Ctrl-C reaches the scheduler, which asks its workers to stop in good order.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let kills = OomKills::now();
    let mut child =
        command.spawn().map_err(|e| Error::environment(format!("can't start a worker: {e}")).help(FEWER))?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::internal("a worker without pipes"));
    };
    let mut line = serde_json::to_string(order)?;
    line.push('\n');
    // A worker that dies before it reads its order is reported by its exit status below.
    let _ = stdin.write_all(line.as_bytes());
    let child = Arc::new(Mutex::new(child));
    let stdin = Arc::new(Mutex::new(Some(stdin)));
    let handle = Handle { stdin, child: Arc::clone(&child) };
    let listening = std::thread::Builder::new().spawn(move || {
        let mut ended = false;
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(message) = serde_json::from_str(&line) {
                ended |= matches!(message, Message::Done { .. } | Message::Failed { .. });
                send(message);
            }
        }
        let status = child.lock().unwrap_or_else(std::sync::PoisonError::into_inner).wait();
        if !ended {
            send(Message::Failed { error: death(status.ok(), &log, &kills) });
        }
    });
    match listening {
        Ok(_) => Ok(handle),
        Err(e) => {
            handle.kill();
            let _ = handle.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner).wait();
            Err(no_thread(&e))
        }
    }
}

/// What to say of a worker that ended without a word.
fn death(status: Option<ExitStatus>, log: &Path, kills: &OomKills) -> Error {
    #[cfg(unix)]
    let signal = status.and_then(|s| std::os::unix::process::ExitStatusExt::signal(&s));
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let last = std::fs::read_to_string(log).unwrap_or_default();
    let last: Vec<&str> = last.lines().rev().take(3).collect();
    let tail: String = last.into_iter().rev().map(|l| format!("\n  {l}")).collect();
    match signal {
        Some(9) if kills.rose() => {
            Error::environment(format!("the worker was killed because memory ran out (signal 9){tail}"))
                .help("give the stage more `resources.memory` so that fewer run side by side, or lower its batch size")
        }
        Some(9) => Error::environment(format!("the worker was killed (signal 9){tail}"))
            .help("the kernel has no record that memory ran out, so somebody did it; run again"),
        Some(n) => Error::internal(format!("the worker died of signal {n}{tail}")),
        None => Error::internal(format!(
            "the worker ended without a result (exit code {}){tail}",
            status.and_then(|s| s.code()).map_or_else(|| "unknown".to_owned(), |c| c.to_string())
        )),
    }
}
