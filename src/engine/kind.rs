//! What the engine asks of a stage kind, and what it gives to a running one.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::base::machine::{Device, Resources};
use crate::{
    base::{
        digest::Digest,
        error::{Error, IoAt, Result},
    },
    config::{ActionSpec, Diagnostic, Entry, Node, Spec},
};

/// All stage kinds of the program.
pub type Registry = &'static [&'static dyn StageKind];

/// A kind of stage. One file in `src/stages`, one line in its registry.
pub trait StageKind: Sync {
    fn name(&self) -> &'static str;

    /// Part of every action key: raise it when the same parameters and inputs give other bytes than before.
    fn version(&self) -> u32;

    /// Unknown keys and wrong types in the stage's own table.
    fn check(&self, params: &Node) -> Vec<Diagnostic>;

    /// JSON Schema of the stage's own table.
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema;

    /// The full description of one action: parameters with every default and every definition filled in.
    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>>;

    fn isolation(&self) -> Isolation {
        Isolation::Worker
    }

    /// Name of a JSON file in the artifact whose numbers say how good the result is, for comparisons of runs.
    fn metrics(&self) -> Option<&'static str> {
        None
    }

    /// Names of the files that an action with these parameters writes; none where that can't be told before it has run. Exported
    /// files must each have a place of their own.
    fn outputs(&self, _params: &serde_json::Value) -> Option<Vec<String>> {
        None
    }

    /// Whether the result shows [`Job::notes`]; they then enter the key.
    fn shows_notes(&self) -> bool {
        false
    }

    /// Whether a stage of this kind runs commands that its table names: such tables are taken from trusted files only.
    fn executes(&self) -> bool {
        false
    }

    /// Does the work. Writes its files under `cx.out`; everything else is read from `cx.job`.
    fn run(&self, cx: &Context) -> Result<()>;
}

/// What the configuration layer needs to know of a kind.
pub fn vocabulary_entry(kind: &'static dyn StageKind) -> Entry {
    Entry {
        name: kind.name(),
        check: Box::new(|node| kind.check(node)),
        schema: Box::new(|generator| kind.schema(generator)),
        executes: kind.executes(),
    }
}

/// Where an action runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// In the scheduler's process: for quick, pure work.
    InProcess,
    /// In a process of its own, so that an out-of-memory kill fails one action and not the run.
    Worker,
}

/// What a kind sees when it resolves an action.
pub struct ResolveContext<'a> {
    pub spec: &'a Spec,
    pub action: &'a ActionSpec,
}

/// What an action will hold in memory at its worst moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    pub device: Device,
    /// What it is held for, and bytes.
    pub parts: Vec<(&'static str, u64)>,
    /// Whether this follows from the data itself, and not from the most that the parameters allow.
    pub exact: bool,
}

impl Footprint {
    /// Bytes.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Tells an action's footprint from its parameters, and better where its inputs are there already.
pub trait Estimate: fmt::Debug + Send + Sync {
    /// `inputs` holds those that are in the store, by role.
    fn footprint(&self, inputs: &BTreeMap<String, Vec<Artifact>>) -> Result<Footprint>;

    /// Changes of single settings that would each keep the footprint within `budget` bytes, for people.
    fn remedies(&self, inputs: &BTreeMap<String, Vec<Artifact>>, budget: u64) -> Vec<String>;
}

/// Tells roughly how long an action takes, where no journal does.
pub trait Work: fmt::Debug + Send + Sync {
    /// Seconds on `cores` of this machine's cores. `inputs` holds those that are in the store, by role.
    ///
    /// # Errors
    /// If an input can't be read.
    fn seconds(&self, inputs: &BTreeMap<String, Vec<Artifact>>, cores: u32) -> Result<f64>;
}

/// So many seconds, whatever the inputs.
#[derive(Debug, Clone, Copy)]
pub struct Usual(pub f64);

impl Work for Usual {
    fn seconds(&self, _: &BTreeMap<String, Vec<Artifact>>, _: u32) -> Result<f64> {
        Ok(self.0)
    }
}

/// An action, described.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// Everything that can change the result's bytes. Enters the key in canonical form (object keys sorted).
    pub params: serde_json::Value,
    /// What the work needs but can't change its bytes (a URL whose content is pinned, say). Not in the key.
    pub unkeyed: serde_json::Value,
    /// What of it must not be written down, such as an address with a password in it. It reaches the worker and no file.
    pub private: serde_json::Value,
    /// `cpu-f32`, `cuda-bf16`, ... where the bytes depend on how the device computes.
    pub numerics: Option<String>,
    pub resources: Resources,
    /// Variables of this process's environment that the worker gets, besides emopipe's own: names, or beginnings of names
    /// followed by `*`. None: all but those of a remote store's credentials.
    pub variables: Option<Vec<String>>,
    /// Where memory can be told in advance.
    pub memory: Option<Arc<dyn Estimate>>,
    /// Where time can be told in advance.
    pub work: Option<Arc<dyn Work>>,
    /// How often an environment error is tried again.
    pub retries: u32,
    /// How far numbers in the result's text files may differ when the action is computed again (relative, near 0
    /// absolute). None: not at all.
    pub tolerance: Option<f64>,
    /// What has to be there before the action can run and isn't, such as a file that people have to put somewhere. A run that
    /// would have to compute the action doesn't begin.
    pub missing: Vec<Diagnostic>,
    /// Something that is missing would be in the parameters, so the action has no key yet.
    pub keyless: bool,
}

/// Everything a running action needs; one line of JSON on the worker's standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub kind: String,
    /// `train[task=sst5,method=lora,seed=0]`
    pub action: String,
    pub params: serde_json::Value,
    pub unkeyed: serde_json::Value,
    /// Like `unkeyed`, and never written down.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub private: serde_json::Value,
    /// By role; several artifacts where a stage gathers.
    pub inputs: BTreeMap<String, Vec<Artifact>>,
    /// Threads that the action may use.
    pub threads: usize,
    /// Bytes that are set aside for the action.
    #[serde(default)]
    pub memory: u64,
    /// What was vouched for and not computed among everything that led to the inputs, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// An immutable folder of files, named by its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    pub digest: Digest,
    /// File name inside the artifact, and the read-only file that holds its bytes.
    pub files: BTreeMap<String, PathBuf>,
}

impl Artifact {
    /// The file named `name`.
    pub fn file(&self, name: &str) -> Result<&Path> {
        self.files.get(name).map(PathBuf::as_path).ok_or_else(|| {
            let have: Vec<_> = self.files.keys().map(String::as_str).collect();
            Error::input(format!("artifact {} has no file `{name}`; it has: {}", self.digest.short(), have.join(", ")))
        })
    }

    /// The only file of the artifact, with its name.
    pub fn single(&self) -> Result<(&str, &Path)> {
        match self.files.iter().next() {
            Some((name, path)) if self.files.len() == 1 => Ok((name, path)),
            _ => Err(Error::input(format!(
                "artifact {} has {} files where one is needed",
                self.digest.short(),
                self.files.len()
            ))),
        }
    }
}

/// What a running action may use.
pub struct Context<'a> {
    pub job: &'a Job,
    /// Empty folder that becomes the artifact.
    pub out: &'a Path,
    /// Place of [`Context::work_folder`].
    pub work: &'a Path,
    pub progress: &'a dyn Progress,
}

impl Context<'_> {
    /// The action's parameters, as the kind's resolved type.
    pub fn params<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.job.params.clone())
            .map_err(|e| Error::internal(format!("parameters of {}: {e}", self.job.action)))
    }

    /// The artifacts of a role; empty where the role has none.
    pub fn inputs(&self, role: &str) -> &[Artifact] {
        self.job.inputs.get(role).map_or(&[], Vec::as_slice)
    }

    /// The one artifact of a role.
    pub fn input(&self, role: &str) -> Result<&Artifact> {
        match self.inputs(role) {
            [one] => Ok(one),
            many => Err(Error::input(format!("{} needs one `{role}` input and has {}", self.job.action, many.len()))),
        }
    }

    /// A private folder that outlives an interruption: partial downloads, checkpoints. Removed after success.
    ///
    /// # Errors
    /// If it can't be created.
    pub fn work_folder(&self) -> Result<&Path> {
        std::fs::create_dir_all(self.work).io_at("create", self.work)?;
        Ok(self.work)
    }

    /// An error where the user asked to stop; to be called where stopping loses nothing.
    pub fn checkpoint_reached(&self) -> Result<()> {
        if self.progress.stop_requested() { Err(Error::interrupted("stopped on request")) } else { Ok(()) }
    }
}

/// How a running action is watched and stopped.
pub trait Progress: Sync {
    /// `done` of `total` `unit`s (`step`, `byte`, `example`), with a short note such as `loss 0.41`.
    fn step(&self, done: u64, total: u64, unit: &str, note: &str);

    /// One line for the journal and the terminal.
    fn message(&self, text: &str);

    /// A measured quantity that must not enter artifacts (seconds, bytes of memory, examples per second).
    fn measure(&self, name: &str, value: f64);

    /// A training step has given its device all work of a phase: `forward` and `backward` (of each row in turn), `norm`,
    /// `optimiser`. For benchmarks.
    fn phase(&self, _name: &str) {}

    fn stop_requested(&self) -> bool;
}

/// For tests and library use: nobody watches.
pub struct Unwatched;

impl Progress for Unwatched {
    fn step(&self, _: u64, _: u64, _: &str, _: &str) {}
    fn message(&self, _: &str) {}
    fn measure(&self, _: &str, _: f64) {}
    fn stop_requested(&self) -> bool {
        false
    }
}
