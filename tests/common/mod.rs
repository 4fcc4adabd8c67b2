//! Runs the real binary on small projects in temporary folders.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub mod chatglm;
pub mod gguf;
pub mod journals;
pub mod sentencepiece;
pub mod server;
pub mod tiny;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A project folder that is removed when dropped.
pub struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    pub fn new(pipeline: &str) -> Self {
        let project = Self { dir: tempfile::tempdir().unwrap() };
        project.write("pipeline.toml", pipeline);
        project
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emopipe"));
        command.args(arguments).current_dir(self.root());
        for name in [
            "EMOPIPE_STORE",
            "EMOPIPE_MIRROR",
            "EMOPIPE_DATA",
            "EMOPIPE_OFFLINE",
            "EMOPIPE_LOG",
            "EMOPIPE_FAILPOINT",
            "EMOPIPE_LOCKS",
        ] {
            command.env_remove(name);
        }
        // Not the settings of whoever runs the tests.
        command.env("XDG_CONFIG_HOME", self.path(".config"));
        command
    }

    /// Runs `emopipe ARGUMENTS[0] pipeline.toml ARGUMENTS[1..]`.
    pub fn emopipe(&self, arguments: &[&str]) -> Ran {
        let mut all = vec![arguments[0], "pipeline.toml"];
        all.extend(&arguments[1..]);
        Ran(self.command(&all).output().unwrap())
    }

    /// Names of the actions that the last run computed, in the order of their ends.
    pub fn computed(&self) -> Vec<String> {
        let mut runs: Vec<_> = fs::read_dir(self.path("cache/runs")).unwrap().map(|e| e.unwrap().path()).collect();
        runs.sort_by_key(|r| fs::metadata(r.join("journal.jsonl")).unwrap().modified().unwrap());
        let journal = fs::read_to_string(runs.pop().unwrap().join("journal.jsonl")).unwrap();
        journal
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
            .filter(|e| e["event"] == "finished")
            .map(|e| e["action"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// A finished process.
pub struct Ran(pub Output);

impl Ran {
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    pub fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code(), Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout(), self.stderr());
        self
    }

    #[track_caller]
    pub fn fails(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout(), self.stderr());
        self
    }
}
