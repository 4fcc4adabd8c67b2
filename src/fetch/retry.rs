//! Trying again, boundedly and without hurry.

use std::time::{Duration, Instant};

use super::watch::{Watch, check_stop};
use crate::base::error::{Error, Result};

/// Tries in a row without a new byte before giving up. The engine tries the whole action again on top of that.
const FRUITLESS: u32 = 3;
/// Tries altogether, for servers that cut every connection after a few bytes.
const ALTOGETHER: u32 = 200;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) enum Failure {
    /// Another try may help.
    Again {
        error: Error,
        /// The pause that the server asks for.
        after: Option<Duration>,
        progressed: bool,
    },
    Final(Error),
}

impl Failure {
    pub fn again(error: Error) -> Self {
        Self::Again { error, after: None, progressed: false }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self::Final(e)
    }
}

/// Calls `once` until it succeeds or trying again makes no sense. Pauses double from `backoff`.
///
/// # Errors
/// The last failure, or that the user asked to stop.
pub(super) fn retried<T>(
    backoff: Duration,
    watch: &dyn Watch,
    mut once: impl FnMut() -> Result<T, Failure>,
) -> Result<T> {
    let mut fruitless = 0;
    for tried in 1.. {
        check_stop(watch)?;
        match once() {
            Ok(value) => return Ok(value),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Again { error, after, progressed }) => {
                fruitless = if progressed { 0 } else { fruitless + 1 };
                if fruitless == FRUITLESS || tried == ALTOGETHER {
                    return Err(error);
                }
                watch.note(&format!("{error}; trying again"));
                pause(after.unwrap_or(backoff * 2u32.pow(fruitless)).min(LONGEST_PAUSE), watch)?;
            }
        }
    }
    unreachable!("the loop ends by returning")
}

fn pause(duration: Duration, watch: &dyn Watch) -> Result<()> {
    let end = Instant::now() + duration;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        check_stop(watch)?;
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_resets_the_count_but_not_for_ever() {
        let run = |progressed: bool| {
            let mut calls = 0;
            let end: Result<()> = retried(Duration::ZERO, &(), || {
                calls += 1;
                Err(Failure::Again { error: Error::environment("cut"), after: None, progressed })
            });
            assert!(end.is_err());
            calls
        };
        assert_eq!(run(false), FRUITLESS);
        assert_eq!(run(true), ALTOGETHER);
    }
}
