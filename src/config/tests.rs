//! Whole files through [`load`]: what comes out, and how each kind of problem looks.

mod broken_files;
mod matrices;
mod overlays;
mod pipelines;
mod references;
mod schema_in_step;
mod unknown_names;

use std::{collections::BTreeMap, fs, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::*;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read by serde alone")]
struct Task {
    dataset: String,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    metric: Option<Metric>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
#[allow(dead_code, reason = "read by serde alone")]
enum Metric {
    Accuracy,
    FScore { beta: f64 },
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read by serde alone")]
struct Method {
    rank: u32,
    #[serde(default)]
    epochs: Option<f64>,
    #[serde(default)]
    options: BTreeMap<String, i64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read by serde alone")]
struct Train {
    method: String,
    seed: i64,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    nested: Option<Method>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read by serde alone")]
struct Copy {
    #[serde(default)]
    from: Option<String>,
}

fn entry<T: serde::de::DeserializeOwned + JsonSchema + 'static>(name: &'static str) -> Entry {
    Entry::of::<T>(name)
}

fn vocabulary() -> Vocabulary {
    Vocabulary {
        definitions: vec![entry::<Task>("task"), entry::<Method>("method")],
        stage_kinds: vec![entry::<Train>("train"), entry::<Copy>("copy")],
    }
}

/// A folder of files to load from.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn load(&self, options: &LoadOptions) -> Loaded {
        load(&self.0.path().join("p.toml"), options, &vocabulary())
    }

    /// The rendered problems, with this folder's path cut away.
    fn problems(&self, loaded: &Loaded) -> String {
        let prefix = format!("{}/", self.0.path().display());
        render(&loaded.diagnostics, &loaded.sources).replace(&prefix, "")
    }
}

fn good(text: &str, options: &LoadOptions) -> Spec {
    let folder = Folder::new(&[("p.toml", text)]);
    let loaded = folder.load(options);
    assert!(loaded.diagnostics.is_empty(), "{}", folder.problems(&loaded));
    loaded.spec.unwrap()
}

fn bad(text: &str) -> String {
    bad_files(&[("p.toml", text)], &LoadOptions::default())
}

fn bad_files(files: &[(&str, &str)], options: &LoadOptions) -> String {
    let folder = Folder::new(files);
    let loaded = folder.load(options);
    assert!(!loaded.diagnostics.is_empty());
    folder.problems(&loaded)
}

fn profile(name: &str) -> LoadOptions {
    LoadOptions { profile: Some(name.into()), ..Default::default() }
}

fn names(stage: &StageSpec) -> Vec<String> {
    let name =
        |a: &ActionSpec| a.axes.iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(",");
    stage.actions.iter().map(name).collect()
}

const PIPELINE: &str = r#"
[pipeline]
name = "paper"
root = ".."
seeds = [0, 1]
goals = ["train"]

[params]
note = { text = "hi" }

[task.sst]
dataset = "sst-raw"
[task.mosi]
dataset = "mosi-raw"

[method.lora]
rank = 8
[method.ptuning]
rank = 32
epochs = 2

[stages.raw]
kind = "copy"
matrix = { dataset = ["sst-raw", "mosi-raw"] }
from = "x/${dataset}.csv"

[stages.train]
kind = "train"
matrix = { task = "all", method = "all", seed = "all" }
exclude = [{ task = "mosi", method = ["lora"] }, { seed = 1, task = "mosi" }]
inputs = { raw = "raw[dataset=${task.dataset}]", more = ["raw"] }
resources = { cores = 2, memory = "2 GiB" }
export = "out/${task}"
method = "${method}"
seed = "${seed}"
note = "${params.note.text}: ${task.dataset}, $${seed}"
nested.rank = "${method.rank}"

[profile.small]
inherits = "base"
[profile.small.method.lora]
rank = 4
[profile.base]
description = "one seed"
[profile.base.pipeline]
seeds = [7]
[profile.base.method]
lora.epochs = 1
lora.rank = 2
"#;
