//! Actions in processes of their own, so that a kill for want of memory fails one action and not the run.
//!
//! A worker gets its request as a JSON line on its standard input, and the pipe stays open: its end asks the worker to stop. What
//! it prints besides its events goes to a log file.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::contract::{Assignment, Cancel, Events, Executor, Site};
use crate::{
    base::{
        error::{Error, IoAt, Result},
        machine,
    },
    engine::{Isolation, worker::ActionEvent, worker_env},
    process::{
        self, OomKills,
        threads::{FEWER, no_thread},
    },
};

pub struct WorkerProcess {
    site: Site,
    events: Events,
    workers: Vec<Worker>,
}

impl WorkerProcess {
    pub fn open(site: &Site, events: &Events) -> Box<dyn Executor> {
        Box::new(Self { site: site.clone(), events: events.clone(), workers: Vec::new() })
    }
}

impl Executor for WorkerProcess {
    fn takes(&self, isolation: Isolation) -> bool {
        isolation == Isolation::Worker
    }

    fn start(&mut self, batch: Vec<Assignment>) {
        self.workers.retain(|worker| !worker.has_ended());
        for assignment in batch {
            let action = assignment.action;
            match start(&self.site, assignment, &self.events) {
                Ok(worker) => self.workers.push(worker),
                Err(error) => self.events.send(action, ActionEvent::Failed { error }),
            }
        }
    }

    fn cancel(&mut self, how: Cancel) {
        for worker in &self.workers {
            match how {
                Cancel::Graceful => worker.stop(),
                Cancel::Now => worker.kill(),
            }
        }
    }
}

/// The scheduler's side of a worker.
struct Worker {
    /// None once the worker was asked to stop, or has ended.
    stdin: Arc<Mutex<Option<ChildStdin>>>,
    child: Arc<Mutex<Child>>,
}

impl Worker {
    /// Asks the worker to end at its next checkpoint.
    fn stop(&self) {
        lock(&self.stdin).take();
    }

    fn kill(&self) {
        let _ = lock(&self.child).kill();
    }

    fn has_ended(&self) -> bool {
        // Only the thread that listens to it holds the other one.
        Arc::strong_count(&self.child) == 1
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a worker. A failure that ends it is told when everything that it started has ended, too.
fn start(site: &Site, assignment: Assignment, events: &Events) -> Result<Worker> {
    let Assignment { action, request, log, .. } = &assignment;
    let stderr = File::create(log).io_at("create the worker's log", log)?;
    let kills = OomKills::now();
    let mut child = command(site, &assignment)?
        .stderr(stderr)
        .spawn()
        .map_err(|e| Error::environment(format!("can't start a worker: {e}")).help(FEWER))?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::internal("a worker without pipes"));
    };
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    // A worker that dies before it reads its request is reported by its exit status below.
    let _ = stdin.write_all(line.as_bytes());
    let worker = Worker { stdin: Arc::new(Mutex::new(Some(stdin))), child: Arc::new(Mutex::new(child)) };
    let (child, events, action, log) = (Arc::clone(&worker.child), events.clone(), *action, log.clone());
    let listening = thread::Builder::new().spawn(move || {
        let mut ended = false;
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(event) = serde_json::from_str::<ActionEvent>(&line) {
                ended |= event.is_last();
                events.send(action, event);
            }
        }
        let status = lock(&child).wait();
        if !ended {
            events.send(action, ActionEvent::Failed { error: death(status.ok(), &log, &kills) });
        }
    });
    match listening {
        Ok(_) => Ok(worker),
        Err(e) => {
            worker.kill();
            let _ = lock(&worker.child).wait();
            Err(no_thread(&e))
        }
    }
}

fn command(site: &Site, assignment: &Assignment) -> Result<Command> {
    let threads = assignment.request.job.threads.to_string();
    let gpus = machine::share(&assignment.gpus, machine::visible_gpus().as_deref());
    let mut command = process::this_program("worker")?;
    worker_env::inherit(&mut command, assignment.variables.as_deref(), &site.withheld);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .envs(worker_env::THREADS.map(|name| (name, &threads)))
        .envs(site.env.iter().map(|(k, v)| (k, v)))
        .env(machine::VISIBLE, gpus);
    // Out of the terminal's process group: Ctrl-C reaches the scheduler, which asks its workers to stop in good order.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
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
