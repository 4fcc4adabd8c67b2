//! `PIPELINE.lock`: the digests of everything that comes in and everything that is shown, for runs that may change nothing.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::plan::{Forecast, Plan};
use crate::{
    base::{
        digest::Digest,
        durable,
        error::{Error, Result},
        tracked_fs::TrackedFs,
    },
    store::{ActionResult, FileEntry},
};

const HEAD: &str = "# Written by `emopipe lock`; `emopipe run --locked` fails where anything would differ.\n\n";

/// Files of an artifact and their digests.
type Files = BTreeMap<String, Digest>;

/// The file: what is locked, by profile (`default` where there is none).
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockFile {
    pub profile: BTreeMap<String, Locked>,
}

/// What is locked of one profile, by action.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Results of actions without inputs: downloads, and commands that read files of the project.
    #[serde(default)]
    pub sources: BTreeMap<String, Files>,
    /// Results that are placed in the project.
    #[serde(default)]
    pub reports: BTreeMap<String, Files>,
}

impl LockFile {
    /// Where a pipeline's lock file lies: `paper.lock` beside `paper.toml`.
    pub fn path(pipeline: &Path) -> PathBuf {
        pipeline.with_extension("lock")
    }

    /// The lock file at `path`; empty where there is none.
    ///
    /// # Errors
    /// If it can't be read, or isn't a lock file.
    pub fn read(path: &Path, tracked_fs: &TrackedFs) -> Result<Self> {
        match tracked_fs.read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|e| {
                Error::input(format!("{} can't be read: {e}", path.display())).help("write it anew with `emopipe lock`")
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(Error::io("read", path, &e)),
        }
    }

    /// Leaves the old file or the new one, whatever happens.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string_pretty(self).map_err(Error::internal)?;
        durable::edit(path, format!("{HEAD}{text}").as_bytes())
    }

    /// What is locked of a plan's profile.
    ///
    /// # Errors
    /// Where nothing is.
    pub fn of(&self, plan: &Plan, path: &Path) -> Result<&Locked> {
        let profile = profile(plan);
        self.profile.get(profile).ok_or_else(|| {
            Error::input(format!("{} says nothing of profile `{profile}`", path.display()))
                .help("run the pipeline, look at its reports, and write the file with `emopipe lock`")
        })
    }

    /// Puts what is in the store now in the place of what was locked of the plan's profile.
    ///
    /// # Errors
    /// Where a result isn't in the store.
    pub fn lock(&mut self, plan: &Plan, forecasts: &[Forecast]) -> Result<()> {
        let mut locked = Locked::default();
        for (action, forecast) in plan.actions.iter().zip(forecasts) {
            let tables = [
                action.inputs.is_empty().then_some(&mut locked.sources),
                action.export.is_some().then_some(&mut locked.reports),
            ];
            for table in tables.into_iter().flatten() {
                let Forecast::Cached { result, .. } = forecast else {
                    return Err(Error::input(format!("{} has no result yet", action.name))
                        .help("`emopipe run` the pipeline first, then lock it"));
                };
                table.insert(action.name.clone(), result.files.iter().map(|f| (f.name.clone(), f.digest)).collect());
            }
        }
        self.profile.insert(profile(plan).to_owned(), locked);
        Ok(())
    }
}

fn profile(plan: &Plan) -> &str {
    plan.spec.profile.as_deref().unwrap_or("default")
}

impl Locked {
    /// The artifacts that actions must give.
    pub fn expected(&self) -> HashMap<String, Digest> {
        let artifact = |files: &Files| {
            let entries = files.iter().map(|(name, digest)| FileEntry { name: name.clone(), digest: *digest, size: 0 });
            ActionResult::new(entries.collect()).artifact
        };
        self.sources.iter().chain(&self.reports).map(|(name, files)| (name.clone(), artifact(files))).collect()
    }

    /// What differs from the lock before anything runs: actions that came or went, and results that are known already.
    pub fn differences(&self, plan: &Plan, forecasts: &[Forecast]) -> Vec<String> {
        let expected = self.expected();
        let mut found = Vec::new();
        let mut wanted: std::collections::BTreeSet<&String> = expected.keys().collect();
        for (action, forecast) in plan.actions.iter().zip(forecasts) {
            if !action.inputs.is_empty() && action.export.is_none() {
                continue;
            }
            wanted.remove(&action.name);
            match (expected.get(&action.name), forecast) {
                (None, _) => found.push(format!("{} isn't in the lock file", action.name)),
                (Some(digest), Forecast::Cached { result, .. }) if *digest != result.artifact => found.push(format!(
                    "{}: the lock file says {}, the store has {}",
                    action.name,
                    digest.short(),
                    result.artifact.short()
                )),
                _ => {}
            }
        }
        found.extend(wanted.into_iter().map(|name| format!("{name} is in the lock file, but not in the pipeline")));
        found
    }
}
