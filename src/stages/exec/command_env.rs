//! Which environment variables reach a command: a few that every program may need, and those that the stage names.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use super::{exec_table::ALWAYS, secret_variables::Secrets};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    engine::worker_env,
};

/// The whole environment of a command, from that of this process.
///
/// # Errors
/// If a variable hasn't the value that the key knows, or a secret isn't there.
pub(super) fn of_command(
    env: &BTreeMap<String, String>,
    passed: &BTreeMap<String, Option<Digest>>,
    secret: &[String],
) -> Result<(Vec<(OsString, OsString)>, Secrets)> {
    for (name, known) in passed {
        if std::env::var_os(name).map(|value| digest(&value)) != *known {
            return Err(Error::internal(format!("`{name}` hasn't the value that this action's key knows")));
        }
    }
    let mut secrets = Vec::new();
    for name in secret {
        let value = std::env::var_os(name).ok_or_else(|| {
            Error::input(format!("`secret_env` names {name}, which isn't set")).help("set it and run again")
        })?;
        secrets.push(value.into_vec());
    }
    let reaches = |name: &OsStr| {
        name.to_str().is_some_and(|name| {
            worker_env::admits(&ALWAYS, name)
                || worker_env::SHARES.contains(&name)
                || passed.contains_key(name)
                || secret.iter().any(|s| s == name)
        })
    };
    let mut all: BTreeMap<OsString, OsString> = std::env::vars_os().filter(|(name, _)| reaches(name)).collect();
    all.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
    Ok((all.into_iter().collect(), Secrets::new(secrets)))
}

/// What a key holds of a variable's value.
pub(super) fn digest(value: &OsStr) -> Digest {
    Digest::of(value.as_bytes())
}
