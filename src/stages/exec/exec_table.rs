//! The keys of an `exec` stage, and what becomes of them.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;

/// The name that stands for the folder to write to.
pub const OUT: &str = "out";

/// Where programs, libraries and the user's files are, the language, the time zone, certificates. None of them is a secret or
/// holds one, as a proxy's address may.
pub const ALWAYS: [&str; 12] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TMPDIR",
    "SSL_CERT_*",
];

/// Runs a command of the project, and keeps the files that it writes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecTable {
    /// Program and arguments. `{out}` is the folder to write to, `{ROLE}` the folder (or the only file) of an input.
    pub command: Vec<String>,
    /// Files of the project that the command reads, relative to the pipeline's root. Their contents enter the key.
    #[serde(default)]
    pub files: Vec<String>,
    /// Environment variables and their values.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Variables of emopipe's own environment that the command gets. Digests of their values enter the key.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// Variables that hold secrets: the command gets them, they enter no key, and their values are masked in what it prints.
    #[serde(default)]
    pub secret_env: Vec<String>,
    /// Files the command writes below `{out}`. All must be there afterwards; nothing else is kept.
    pub outputs: Vec<String>,
    /// How far numbers in the outputs may differ, relatively, when `emopipe verify --rerun` computes them again (default: not
    /// at all).
    #[serde(default)]
    pub tolerance: Option<f64>,
}

/// What decides the bytes of the outputs, next to the inputs.
#[derive(Serialize, Deserialize)]
pub struct ExecParams {
    pub command: Vec<String>,
    pub files: BTreeMap<String, Digest>,
    pub env: BTreeMap<String, String>,
    pub outputs: Vec<String>,
    /// Digests of values; none where a variable isn't set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pass_env: BTreeMap<String, Option<Digest>>,
}

/// What the command needs besides.
#[derive(Serialize, Deserialize)]
pub struct ExecUnkeyed {
    pub root: PathBuf,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
}
