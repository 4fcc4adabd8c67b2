//! The other side of a supervisor: gives it its task, and hears how the command ended.

use std::{
    io::{ErrorKind, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Stdio},
    time::Duration,
};

use super::{
    descendants::{adopt_orphans, end},
    program::this_program,
    supervision::{Ended, Task},
    threads::FEWER,
};
use crate::base::error::{Error, Result};

/// How long what a dead supervisor left behind may take to end.
const LAST: Duration = Duration::from_secs(10);

/// A command that runs below a supervisor. When this value is dropped, or its process dies, the command is ended with all that
/// it started.
pub struct Supervised {
    link: UnixStream,
    child: Child,
    answer: Vec<u8>,
}

impl Supervised {
    /// Starts a supervisor for `task`. What the command prints goes to `log`.
    ///
    /// # Errors
    /// If there can be no more processes. Whether the command itself can be started is in [`Ended`].
    pub fn start(task: &Task, log: Stdio) -> Result<Self> {
        // Should the supervisor be killed, what it watched over becomes ours.
        adopt_orphans();
        let failed =
            |e: std::io::Error| Error::environment(format!("can't start a process for the command: {e}")).help(FEWER);
        let (mut link, theirs) = UnixStream::pair().map_err(failed)?;
        let mut supervisor = this_program("supervise")?;
        supervisor.env_clear().stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::inherit()).stderr(log);
        let child = supervisor.spawn().map_err(failed)?;
        drop(supervisor);
        let mut line = serde_json::to_string(task)?;
        line.push('\n');
        // A supervisor that has died at once is noticed when nothing comes back.
        let _ = link.write_all(line.as_bytes());
        Ok(Self { link, child, answer: Vec::new() })
    }

    /// Asks for an end in good order, which is then to be waited for.
    pub fn stop(&mut self) {
        let _ = self.link.write_all(b"stop\n");
    }

    /// Waits for the command's end, `time` at most.
    ///
    /// # Errors
    /// If the supervisor itself was killed; the command has then been ended.
    pub fn wait(&mut self, time: Duration) -> Result<Option<Ended>> {
        let _ = self.link.set_read_timeout(Some(time));
        let mut part = [0; 4096];
        match self.link.read(&mut part) {
            Ok(0) => Err(self.lost()),
            Ok(n) => {
                self.answer.extend_from_slice(&part[..n]);
                if self.answer.ends_with(b"\n") { Ok(Some(serde_json::from_slice(&self.answer)?)) } else { Ok(None) }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                Ok(None)
            }
            Err(_) => Err(self.lost()),
        }
    }

    /// Ends what was left to us, and says so.
    fn lost(&mut self) -> Error {
        end(None, LAST, |_, _| {});
        Error::environment("the process that watched over the command was killed; the command was ended")
            .help("run again")
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.link.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}
