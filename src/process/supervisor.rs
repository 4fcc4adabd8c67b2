//! The supervisor's side: starts one command and sees to it that nothing of it outlives the order.
//!
//! Its standard input is a socket on which the [`Task`] comes and the answer goes back. A line `stop` asks for an end in good
//! order; the end of the socket means that whoever gave the task has died, and ends everything at once. Its standard output
//! is that of whoever started it, never written and not passed on: who reads it sees its end only when the command has ended,
//! too.

use std::{
    fs::{File, TryLockError},
    io::{BufRead, BufReader, ErrorKind, Write},
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::{
    descendants::{adopt_orphans, end, names, reap, relatives, signal},
    memory_meter::Meter,
    program::take_name,
    supervision::{Ended, Task},
};
use crate::base::error::{Error, Result};

/// How long what a command left running has to end by itself, and then after being asked.
const LINGER: Duration = Duration::from_millis(100);
/// How long a command that is stopped has to end in good order.
const GRACE: Duration = Duration::from_secs(1);
/// How long the kernel may take to end what was killed.
const LAST: Duration = Duration::from_secs(10);
/// How long to sleep between two looks: at first, and at most.
const FIRST_POLL: Duration = Duration::from_millis(1);
const POLL: Duration = Duration::from_millis(25);

/// Carries out the one task that comes on standard input.
///
/// # Errors
/// Where standard input isn't such a socket.
pub fn serve() -> Result<()> {
    let broken = |e: std::io::Error| Error::internal(format!("a supervisor got no task: {e}"));
    take_name();
    adopt_orphans();
    // Out of reach of the terminal and of signals to the worker's process group.
    let _ = rustix::process::setsid();
    let mut link = BufReader::new(UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(broken)?));
    let mut line = String::new();
    link.read_line(&mut line).map_err(broken)?;
    let task: Task = serde_json::from_str(&line)
        .map_err(|e| Error::internal(e).help("`emopipe supervise` is started by emopipe itself, not by hand"))?;
    let mut supervisor = Supervisor::new(link)?;
    let ended = supervisor.run(&task);
    let mut text = serde_json::to_string(&ended)?;
    text.push('\n');
    // Nobody may be there to hear it.
    let _ = supervisor.link.get_mut().write_all(text.as_bytes());
    Ok(())
}

/// Whether the command is to be ended before it ends itself.
#[derive(Debug, Clone, Copy, PartialEq)]
enum StopRequest {
    None,
    /// In good order.
    Gently,
    /// Whoever gave the task is gone.
    AtOnce,
}

struct Supervisor {
    link: BufReader<UnixStream>,
    stop: StopRequest,
    /// Set by signals that ask this process to end.
    signalled: Arc<AtomicBool>,
    meter: Meter,
    command: Option<Pid>,
    status: Option<WaitStatus>,
    killed: bool,
}

impl Supervisor {
    fn new(link: BufReader<UnixStream>) -> Result<Self> {
        let signalled = Arc::new(AtomicBool::new(false));
        // The end of a child only has to interrupt the wait for the link.
        let woken = Arc::default();
        for (signal, flag) in [(SIGTERM, &signalled), (SIGINT, &signalled), (SIGHUP, &signalled), (SIGCHLD, &woken)] {
            signal_hook::flag::register(signal, Arc::clone(flag))
                .map_err(|e| Error::environment(format!("can't listen for signals: {e}")))?;
        }
        let meter = Meter::new();
        Ok(Self { link, stop: StopRequest::None, signalled, meter, command: None, status: None, killed: false })
    }

    fn run(&mut self, task: &Task) -> Ended {
        let _lock = self.after_predecessor(Path::new(&task.lock));
        if self.stop != StopRequest::None {
            return Ended::default();
        }
        match start(task) {
            Ok(command) => self.command = Some(command),
            Err(e) => {
                let scarce = matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::OutOfMemory);
                return Ended { not_started: Some(e.to_string()), scarce, ..Ended::default() };
            }
        }
        let mut wait = FIRST_POLL;
        while self.any_left() && self.status.is_none() && self.stop == StopRequest::None {
            self.meter.look();
            self.listen(wait);
            wait = (wait * 2).min(POLL);
        }
        let (left, remaining) = self.wind_down();
        Ended {
            not_started: None,
            scarce: false,
            status: self.status.map(WaitStatus::as_raw),
            killed: self.killed,
            peak_memory: self.meter.peak(),
            ran_short: self.meter.ran_short(),
            left,
            remaining,
        }
    }

    /// Waits until the supervisor of an earlier attempt, whose worker has died, is done. Where files can't be locked, there is
    /// nothing to wait for.
    fn after_predecessor(&mut self, path: &Path) -> Option<File> {
        let file = File::create(path).ok()?;
        while self.stop == StopRequest::None && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            self.listen(POLL);
        }
        Some(file)
    }

    /// Ends what is left of the command. Returns what had to be ended although nobody asked for it, and what couldn't be ended.
    fn wind_down(&mut self) -> (Vec<String>, Vec<String>) {
        let mut left = Vec::new();
        if self.stop == StopRequest::None {
            self.give(LINGER);
            if self.any_left() {
                left = names(&relatives());
            }
        }
        if self.stop != StopRequest::AtOnce && self.any_left() {
            signal(Signal::TERM, self.command);
            self.give(if self.stop == StopRequest::Gently { GRACE } else { LINGER });
        }
        let (command, status) = (self.command, &mut self.status);
        let note = |pid, s| {
            if Some(pid) == command {
                *status = Some(s);
            }
        };
        (left, end(command, LAST, note))
    }

    /// Gives what is left time to end.
    fn give(&mut self, time: Duration) {
        let start = Instant::now();
        while self.stop != StopRequest::AtOnce && start.elapsed() < time && self.any_left() {
            self.meter.look();
            self.listen(FIRST_POLL * 5);
        }
    }

    /// Notes the ends of processes. Whether there are any left.
    fn any_left(&mut self) -> bool {
        let Self { command, status, killed, .. } = self;
        reap(|pid, s| {
            *killed |= s.terminating_signal() == Some(Signal::KILL.as_raw());
            if Some(pid) == *command {
                *status = Some(s);
            }
        })
    }

    /// Waits for a request to stop; for a child's end, too, in most cases.
    fn listen(&mut self, time: Duration) {
        let _ = self.link.get_ref().set_read_timeout(Some(time));
        match self.link.fill_buf().map(<[u8]>::len) {
            Ok(0) => self.stop = StopRequest::AtOnce,
            Ok(some) => {
                self.link.consume(some);
                self.stop = StopRequest::Gently;
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => self.stop = StopRequest::AtOnce,
        }
        if self.signalled.load(Ordering::Relaxed) {
            self.stop = StopRequest::AtOnce;
        }
    }
}

/// Starts the command, which ends when this process does, however that comes.
fn start(task: &Task) -> std::io::Result<Pid> {
    let Some((program, arguments)) = task.words.split_first() else {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "an empty command"));
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(task.env.iter().map(|(k, v)| (k, v))).current_dir(&task.folder);
    command.stdin(Stdio::null()).stdout(Stdio::from(std::io::stderr())).stderr(Stdio::inherit()).process_group(0);
    #[cfg(target_os = "linux")]
    {
        let supervisor = rustix::process::getpid();
        // SAFETY: between fork and exec, only two system calls are made and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                // It may have died before this was set.
                if rustix::process::getppid() == Some(supervisor) {
                    Ok(())
                } else {
                    Err(rustix::io::Errno::SRCH.into())
                }
            });
        }
    }
    let child = command.spawn()?;
    Pid::from_raw(child.id() as i32).ok_or_else(|| std::io::Error::other("a process without a number"))
}
