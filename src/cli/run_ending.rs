//! What is said of a run when it has ended.

use super::terminal::{hanging, say};
use crate::{
    base::{
        error::Error,
        units::{bytes, duration},
    },
    engine::scheduler::Summary,
};

/// Results that the remote lacks in the last words; the journal has all.
const UNPUSHED_SHOWN: usize = 10;

/// What there is to do about an error, below it.
pub fn help(error: &Error, indent: &str) {
    if let Some(help) = &error.help {
        say(&format!("{indent}help: {}", hanging(help)));
    }
}

/// How a run ended, in a line.
pub fn ending(summary: &Summary) -> String {
    let time = duration(summary.elapsed.as_secs_f64());
    let (pulled, size) = summary.remote.pulled;
    if summary.ran == 0 && summary.failed.is_empty() && summary.skipped == 0 && !summary.interrupted {
        return match pulled {
            0 => format!("nothing to do: all {} results are in the store ({time})", summary.reused),
            n => format!(
                "nothing to compute: all {} results are in the store, {n} of them from the remote, {} ({time})",
                summary.reused,
                bytes(size)
            ),
        };
    }
    let mut parts = vec![format!("{} ran", summary.ran), format!("{} reused", summary.reused)];
    if !summary.failed.is_empty() {
        parts.push(format!("{} failed", summary.failed.len()));
    }
    if summary.skipped > 0 {
        parts.push(format!("{} not run", summary.skipped));
    }
    let end = if summary.interrupted { "interrupted; the next run goes on from here: " } else { "" };
    let pulled = match pulled {
        0 => String::new(),
        n => format!("\n{n} of the reused results came from the remote, {}", bytes(size)),
    };
    format!("{end}{} in {time}{pulled}", parts.join(", "))
}

/// What was sent to the remote, and what wasn't.
pub fn shared(summary: &Summary) {
    let (pushed, size) = summary.remote.pushed;
    if pushed > 0 {
        say(&format!("{pushed} results sent to the remote, {}", bytes(size)));
    }
    let unpushed = &summary.remote.unpushed;
    if unpushed.is_empty() {
        return;
    }
    say(&format!(
        "{} results weren't sent to the remote; the next run, or `emopipe push`, tries again:",
        unpushed.len()
    ));
    for (name, error) in unpushed.iter().take(UNPUSHED_SHOWN) {
        say(&format!("  {name}: {}", hanging(&error.message)));
    }
    if let Some(more) = unpushed.len().checked_sub(UNPUSHED_SHOWN).filter(|n| *n > 0) {
        say(&format!("  and {more} more"));
    }
}
