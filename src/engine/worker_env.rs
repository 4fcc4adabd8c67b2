//! Which environment variables reach a worker.

use std::{ffi::OsString, process::Command};

use crate::base::machine::VISIBLE;

/// Variables that tell libraries how many threads they may use.
pub const THREADS: [&str; 2] = ["RAYON_NUM_THREADS", "POLARS_MAX_THREADS"];

/// Variables that tell an action what of the machine it may use.
pub const SHARES: [&str; 3] = [THREADS[0], THREADS[1], VISIBLE];

/// Those of emopipe itself, which hold no secrets.
const OWN: &str = "EMOPIPE_";

/// Whether one of `patterns` is `name`, or its beginning followed by `*`.
pub fn admits(patterns: &[impl AsRef<str>], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.as_ref().strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern.as_ref() == name,
    })
}

/// Whether emopipe sets this variable for its workers.
pub fn is_ours(name: &str) -> bool {
    name.starts_with(OWN) || SHARES.contains(&name)
}

/// Lets through to a worker what its action names, if it names anything; else everything but what is `withheld`.
pub(super) fn inherit(command: &mut Command, named: Option<&[String]>, withheld: &[String]) {
    match named {
        None => {
            for name in withheld {
                command.env_remove(name);
            }
        }
        Some(named) => {
            let reaches = |name: &OsString| name.to_str().is_some_and(|n| is_ours(n) || admits(named, n));
            command.env_clear().envs(std::env::vars_os().filter(|(name, _)| reaches(name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_end() {
        let patterns = ["PATH", "LC_*"];
        for (name, admitted) in [("PATH", true), ("PATHS", false), ("LC_ALL", true), ("LC_", true), ("LC", false)] {
            assert_eq!(admits(&patterns, name), admitted, "{name}");
        }
    }
}
