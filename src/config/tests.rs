//! Whole files through [`load`]: what comes out, and how each kind of problem looks.

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

#[test]
fn a_pipeline_is_expanded() {
    let spec = good(PIPELINE, &LoadOptions::default());
    assert_eq!(
        (spec.pipeline.name.as_str(), &spec.pipeline.seeds, &spec.pipeline.goals),
        ("paper", &vec![0, 1], &vec!["train".to_owned()])
    );
    let train = spec.stage("train").unwrap();
    assert_eq!(
        names(train),
        [
            "task=sst,method=lora,seed=0",
            "task=sst,method=lora,seed=1",
            "task=sst,method=ptuning,seed=0",
            "task=sst,method=ptuning,seed=1",
            "task=mosi,method=ptuning,seed=0",
        ]
    );
    let last = train.actions.last().unwrap();
    assert_eq!(
        to_json(&last.params).to_string(),
        r#"{"method":"ptuning","seed":0,"note":"hi: mosi-raw, ${seed}","nested":{"rank":32}}"#
    );
    assert_eq!(last.export.as_deref(), Some("out/mosi"));
    let resources: ResourceRequest = from_node(last.resources.as_ref().unwrap()).unwrap();
    assert_eq!(resources, ResourceRequest { cores: Some(2), memory: Some(Size(2 << 30)), gpus: None });
    let raw = &last.inputs[0].stages[0];
    assert_eq!((raw.stage.as_str(), &raw.constraints), ("raw", &vec![("dataset".to_owned(), "mosi-raw".to_owned())]));
    assert_eq!(last.inputs[1].role, "more");
    assert_eq!(spec.definition("method", "lora", None).unwrap().get("rank").unwrap().as_int(), Some(8));
    let error = spec.definition("method", "lroa", None).unwrap_err();
    assert_eq!(error.help.as_deref(), Some("did you mean `lora`?"));
}

#[test]
fn a_whole_string_takes_the_span_of_what_it_names() {
    let folder = Folder::new(&[("p.toml", PIPELINE)]);
    let loaded = folder.load(&LoadOptions::default());
    let spec = loaded.spec.unwrap();
    let rank = spec.stage("train").unwrap().actions[0].params.get("nested.rank").unwrap();
    assert_eq!(loaded.sources.text(rank.span), Some("8"));
}

#[test]
fn profiles_and_set_are_laid_over_the_file() {
    let rank = |spec: &Spec| to_json(spec.definition("method", "lora", None).unwrap()).to_string();
    let spec = good(PIPELINE, &profile("small"));
    assert_eq!((spec.profile.as_deref(), rank(&spec).as_str()), (Some("small"), r#"{"rank":4,"epochs":1}"#));
    assert_eq!(spec.pipeline.seeds, [7]);
    let mut options = profile("base");
    options.set = vec![("method.lora.rank".into(), "16".into()), ("params.note.text".into(), "free text".into())];
    let spec = good(PIPELINE, &options);
    assert_eq!(rank(&spec), r#"{"rank":16,"epochs":1}"#);
    assert!(to_json(&spec.stage("train").unwrap().actions[0].params).to_string().contains("free text: sst-raw"));
    let spec = good(&PIPELINE.replace("goals", "default_profile = 'base'\ngoals"), &LoadOptions::default());
    assert_eq!(spec.profile.as_deref(), Some("base"));
}

#[test]
fn axes_lists_stand_for_all() {
    let spec = good(
        "[axes]\ntask = ['b']\nlr = [1e-3, 0.5]\n[task.a]\ndataset = 'a'\n[task.b]\ndataset = 'b'\n\
         [stages.x]\nkind = 'copy'\nmatrix = { task = 'all', lr = 'all', seed = 'all' }\n\
         [stages.y]\nkind = 'copy'\nmatrix = { task = ['a'] }",
        &LoadOptions::default(),
    );
    assert_eq!(names(&spec.stages[0]), ["task=b,lr=0.001,seed=0", "task=b,lr=0.5,seed=0"]);
    assert_eq!(names(&spec.stages[1]), ["task=a"]);
    assert_eq!((spec.pipeline.name.as_str(), spec.pipeline.goals.len()), ("p", 0));
}

#[test]
fn included_files_are_merged_and_own_values_win() {
    let folder = Folder::new(&[
        (
            "p.toml",
            "include = [{ path = 'parts/*.toml', stages = true }, 'parts/a.toml']\n[pipeline]\nname = 'own'\n[profile.mini]\ninclude = ['mini/m.toml']\nparams.b = 9\n",
        ),
        ("parts/a.toml", "[pipeline]\nname = 'a'\ndescription = 'd'\nroot = '../store'\n[task.t]\ndataset = 'x'\n"),
        (
            "parts/b.toml",
            "include = ['a.toml']\n[task.u]\ndataset = 'y'\n[stages.s]\nkind = 'copy'\nmatrix = { task = 'all' }\n[params]\na = 1\nb = 2\n[profile.mini.params]\na = 5\n",
        ),
        ("mini/m.toml", "[task.t]\ndataset = 'small'\n[params]\nb = 8\na = 8\n"),
    ]);
    let loaded = folder.load(&profile("mini"));
    assert!(loaded.diagnostics.is_empty(), "{}", folder.problems(&loaded));
    let spec = loaded.spec.unwrap();
    assert_eq!((spec.pipeline.name.as_str(), spec.pipeline.description.as_deref()), ("own", Some("d")));
    assert_eq!(spec.pipeline.root, folder.0.path().join("store"));
    assert_eq!(names(&spec.stages[0]), ["task=t", "task=u"]);
    let dataset = spec.definition("task", "t", None).unwrap().get("dataset").unwrap();
    assert_eq!(dataset.as_str(), Some("small"));
    assert!(loaded.sources.path(dataset.span).unwrap().ends_with("mini/m.toml"));
}

#[test]
fn unknown_names_everywhere() {
    insta::assert_snapshot!(bad(r#"
[pipelin]
name = "x"
[pipeline]
nam = "x"
seeds = ["a"]
goals = ["trian"]
[task.sst]
datset = "x"
[stage.x]
kind = "copy"
[stages.train]
kind = "trian"
[stages.raw]
kind = "copy"
form = "x"
inputs = { a = "trane", b = 3, c = "train[" }
resources = { core = 1, memory = "many" }
"#), @r#"
     × unknown table `pipelin`
      ╭─[p.toml:2:2]
    1 │ 
    2 │ [pipelin]
      ·  ───────
    3 │ name = "x"
      ╰────
     help: did you mean `pipeline`?

     × unknown key `nam`
      ╭─[p.toml:5:1]
    4 │ [pipeline]
    5 │ nam = "x"
      · ───
    6 │ seeds = ["a"]
      ╰────
     help: did you mean `name`?

     × item 1 of `seeds` must be a whole number, not a string
      ╭─[p.toml:6:10]
    5 │ nam = "x"
    6 │ seeds = ["a"]
      ·          ─┬─
      ·           ╰── a string
    7 │ goals = ["trian"]
      ╰────

     × the goal `trian` is no stage
      ╭─[p.toml:7:10]
    6 │ seeds = ["a"]
    7 │ goals = ["trian"]
      ·          ───────
    8 │ [task.sst]
      ╰────
     help: did you mean `train`?

     × unknown key `datset`
       ╭─[p.toml:9:1]
     8 │ [task.sst]
     9 │ datset = "x"
       · ──────
    10 │ [stage.x]
       ╰────
     help: did you mean `dataset`?

     × unknown table `stage`
       ╭─[p.toml:10:2]
     9 │ datset = "x"
    10 │ [stage.x]
       ·  ─────
    11 │ kind = "copy"
       ╰────
     help: did you mean `stages`?

     × there is no stage kind `trian`
       ╭─[p.toml:13:8]
    12 │ [stages.train]
    13 │ kind = "trian"
       ·        ───────
    14 │ [stages.raw]
       ╰────
     help: did you mean `train`?

     × unknown key `form`
       ╭─[p.toml:16:1]
    15 │ kind = "copy"
    16 │ form = "x"
       · ────
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
       ╰────
     help: did you mean `from`?

     × there is no stage `trane`
       ╭─[p.toml:17:16]
    16 │ form = "x"
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
       ·                ───────
    18 │ resources = { core = 1, memory = "many" }
       ╰────
     help: did you mean `train`?

     × the input `b` must name stages, not a whole number
       ╭─[p.toml:17:29]
    16 │ form = "x"
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
       ·                             ─
    18 │ resources = { core = 1, memory = "many" }
       ╰────
     help: write `b = "stage"` or `b = ["stage", ...]`

     × `train[` is no reference to a stage
       ╭─[p.toml:17:36]
    16 │ form = "x"
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
       ·                                    ────────
    18 │ resources = { core = 1, memory = "many" }
       ╰────
     help: write `stage` or `stage[axis=value,axis=value]`

     × unknown key `core`
       ╭─[p.toml:18:15]
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
    18 │ resources = { core = 1, memory = "many" }
       ·               ────
       ╰────
     help: did you mean `cores`?

     × `memory` must be a size such as `2 GiB` or a number of bytes, not `many`
       ╭─[p.toml:18:34]
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
    18 │ resources = { core = 1, memory = "many" }
       ·                                  ──────
       ╰────
    "#);
}

#[test]
fn matrix_problems() {
    insta::assert_snapshot!(bad(r#"
[axes]
lr = 3
[task.sst]
dataset = "x"
[stages.a]
kind = "copy"
matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
[stages.b]
kind = "copy"
matrix = { task = "all" }
exclude = [{ task = "sst" }]
[stages.c]
kind = "copy"
matrix = "all"
"#), @r#"
     × the axis `lr` must be a list, not a whole number
      ╭─[p.toml:3:6]
    2 │ [axes]
    3 │ lr = 3
      ·      ─
    4 │ [task.sst]
      ╰────
     help: write `lr = [...]`

     × there is no task `sts`
      ╭─[p.toml:8:20]
    7 │ kind = "copy"
    8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
      ·                    ─────
    9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
      ╰────
     help: did you mean `sst`?

     × the axis `method` has no values, so the matrix is empty
      ╭─[p.toml:8:44]
    7 │ kind = "copy"
    8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
      ·                                            ─────
    9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
      ╰────
     help: define a `[method.NAME]`, or leave the axis out

     × the axis `x` has no values, so the matrix is empty
      ╭─[p.toml:8:67]
    7 │ kind = "copy"
    8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
      ·                                                                   ──
    9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
      ╰────
     help: give it a value, or leave the axis out

     × `1` is listed twice for the axis `y`
      ╭─[p.toml:8:79]
    7 │ kind = "copy"
    8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
      ·                                                                               ─
    9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
      ╰────
     help: keep one of the two

     × a value of the axis `z` can't be a list
      ╭─[p.toml:8:88]
    7 │ kind = "copy"
    8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
      ·                                                                                        ──
    9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
      ╰────
     help: axis values are strings, numbers, true and false

     × `tsk` is no axis of this stage
       ╭─[p.toml:9:14]
     8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
     9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
       ·              ───
    10 │ [stages.b]
       ╰────
     help: did you mean `task`?

     × there is no task `ssst`
       ╭─[p.toml:9:38]
     8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
     9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
       ·                                      ──────
    10 │ [stages.b]
       ╰────
     help: did you mean `sst`?

     × `exclude` must list tables of axes and values, not a whole number
       ╭─[p.toml:9:48]
     8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
     9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
       ·                                                ─
    10 │ [stages.b]
       ╰────
     help: write `exclude = [{ task = "x" }]`

     × `exclude` drops every combination of the matrix of `b`
       ╭─[p.toml:13:11]
    12 │ matrix = { task = "all" }
    13 │ exclude = [{ task = "sst" }]
       ·           ──────────────────
    14 │ [stages.c]
       ╰────
     help: drop fewer, or leave the stage out

     × `matrix` must be a table of axes, not a string
       ╭─[p.toml:16:10]
    15 │ kind = "copy"
    16 │ matrix = "all"
       ·          ─────
       ╰────
     help: write `matrix = { task = "all" }`
    "#);
}

#[test]
fn all_of_an_axis_without_a_list() {
    let problems = bad("[axes]\nrate = [1]\n[stages.a]\nkind = 'copy'\nmatrix = { rates = 'all' }");
    assert!(problems.contains("there is no list of all values of `rates`"), "{problems}");
    assert!(problems.contains("did you mean `rate`?"), "{problems}");
}

#[test]
fn reference_problems() {
    insta::assert_snapshot!(bad(r#"
[task.sst]
dataset = "x"
[stages.a]
kind = "copy"
inputs = { x = "c" }
[stages.b]
kind = "copy"
inputs = { x = "a" }
[stages.c]
kind = "copy"
matrix = { task = "all" }
inputs = { x = "b", y = "c" }
[stages.d]
kind = "copy"
inputs = { x = "c[tsk=sst]", y = "c[task=sts]" }
"#), @r#"
     × stages need each other in a circle: a -> c -> b -> a
      ╭─[p.toml:6:16]
    5 │ kind = "copy"
    6 │ inputs = { x = "c" }
      ·                ─┬─
      ·                 ╰── `a` needs `c` here
    7 │ [stages.b]
      ╰────
     help: take one of these away: `a` needs `c` at p.toml:6:16; `c` needs `b` at 
           p.toml:13:16; `b` needs `a` at p.toml:9:16

     × the stage `c` has no axis `tsk`
       ╭─[p.toml:16:16]
    15 │ kind = "copy"
    16 │ inputs = { x = "c[tsk=sst]", y = "c[task=sts]" }
       ·                ────────────
       ╰────
     help: did you mean `task`?

     × the stage `c` has no action for task `sts`
       ╭─[p.toml:16:34]
    15 │ kind = "copy"
    16 │ inputs = { x = "c[tsk=sst]", y = "c[task=sts]" }
       ·                                  ─────────────
       ╰────
     help: did you mean `sst`?
    "#);
}

#[test]
fn references_that_no_action_answers() {
    insta::assert_snapshot!(bad(r#"
[stages.a]
kind = "copy"
matrix = { x = [1, 2], y = [1, 2] }
exclude = [{ x = 1, y = 2 }]
[stages.b]
kind = "copy"
matrix = { x = [1, 2] }
inputs = { a = "a[y=2]", b = "a" }
"#), @r#"
     × `b` needs `a[x=1,y=2]`, which isn't there
      ╭─[p.toml:9:16]
    8 │ matrix = { x = [1, 2] }
    9 │ inputs = { a = "a[y=2]", b = "a" }
      ·                ────────
      ╰────
     help: axes that two stages share must agree: widen the matrix of the one, or exclude from the other
    "#);
}

#[test]
fn interpolation_problems() {
    insta::assert_snapshot!(bad(r#"
[params]
rate = 1
[task.sst]
dataset = "x"
labels = ["a"]
[task.mosi]
dataset = "y"
[method.lora]
rank = 8
[stages.train]
kind = "train"
matrix = { task = "all", x = [1] }
method = "${tsk}"
seed = "${task.dataset}"
note = "a ${task.labels} ${params.rat} ${x.y} ${params}"
export = "out/${task"
"#), @r#"
     × `tsk` means nothing here
       ╭─[p.toml:14:11]
    13 │ matrix = { task = "all", x = [1] }
    14 │ method = "${tsk}"
       ·           ───┬──
       ·              ╰── `tsk` is no axis of this stage's matrix
    15 │ seed = "${task.dataset}"
       ╰────
     help: did you mean `task`?

     × `params` has no key `rat`
       ╭─[p.toml:16:26]
    15 │ seed = "${task.dataset}"
    16 │ note = "a ${task.labels} ${params.rat} ${x.y} ${params}"
       ·                          ─────────────
    17 │ export = "out/${task"
       ╰────
     help: did you mean `rate`? (`params` is written at p.toml:2:1)

     × `x` is a plain axis, its values have no fields
       ╭─[p.toml:16:40]
    15 │ seed = "${task.dataset}"
    16 │ note = "a ${task.labels} ${params.rat} ${x.y} ${params}"
       ·                                        ──────
    17 │ export = "out/${task"
       ╰────
     help: write `${x}`

     × `params` names no parameter
       ╭─[p.toml:16:47]
    15 │ seed = "${task.dataset}"
    16 │ note = "a ${task.labels} ${params.rat} ${x.y} ${params}"
       ·                                               ─────────
    17 │ export = "out/${task"
       ╰────
     help: parameters are the keys of the table `[params]`, named as `${params.key}`

     × `${` without its `}`
       ╭─[p.toml:17:15]
    16 │ note = "a ${task.labels} ${params.rat} ${x.y} ${params}"
    17 │ export = "out/${task"
       ·               ──────
       ╰────
     help: write `${name}`, or `$${` for the characters `${`
    "#);
}

#[test]
fn profile_and_set_problems() {
    let text = r#"
[pipeline]
default_profile = "mini"
[method.lora]
rank = 8
[stages.s]
kind = "copy"
[profile.mni]
inherits = "loop"
method.lora.rnk = 2
[profile.loop]
inherits = "mni"
metod.x = 1
"#;
    let mut options = LoadOptions { profile: None, set: Vec::new() };
    for (path, value) in [
        ("method.lroa.rank", "1"),
        ("metod.lora.rank", "1"),
        ("method.lora.epoch", "1"),
        ("stages", "1"),
        ("a..b", "1"),
        ("pipeline.default_profile", "x"),
    ] {
        options.set.push((path.into(), value.into()));
    }
    insta::assert_snapshot!(bad_files(&[("p.toml", text)], &options), @r#"
     × there is no profile `mini`
      ╭─[p.toml:3:19]
    2 │ [pipeline]
    3 │ default_profile = "mini"
      ·                   ──────
    4 │ [method.lora]
      ╰────
     help: did you mean `mni`?

     × unknown table `metod`
       ╭─[p.toml:13:1]
    12 │ inherits = "mni"
    13 │ metod.x = 1
       · ─────
       ╰────
     help: did you mean `method`?

     × there is no `method.lroa`
      ╭─[--set:1:1]
    1 │ method.lroa.rank=1
      · ────────────────
    2 │ metod.lora.rank=1
      ╰────
     help: did you mean `lora`?

     × unknown table `metod`
      ╭─[--set:2:1]
    1 │ method.lroa.rank=1
    2 │ metod.lora.rank=1
      · ───────────────
    3 │ method.lora.epoch=1
      ╰────
     help: did you mean `method`?

     × unknown key `epoch`
      ╭─[--set:3:1]
    2 │ metod.lora.rank=1
    3 │ method.lora.epoch=1
      · ─────────────────
    4 │ stages=1
      ╰────
     help: did you mean `epochs`?

     × a path of at least two keys is needed
      ╭─[--set:4:1]
    3 │ method.lora.epoch=1
    4 │ stages=1
      · ──────
    5 │ a..b=1
      ╰────
     help: write `--set table.key=value`

     × `a..b` is no path of keys
      ╭─[--set:5:1]
    4 │ stages=1
    5 │ a..b=1
      · ────
    6 │ pipeline.default_profile=x
      ╰────
     help: write `--set table.key=value`

     × the profile is chosen before values are set
      ╭─[--set:6:1]
    5 │ a..b=1
    6 │ pipeline.default_profile=x
      · ────────────────────────
      ╰────
     help: use `--profile NAME`
    "#);
    let problems = bad_files(&[("p.toml", text)], &profile("mni"));
    assert!(problems.contains("profiles inherit from each other: mni -> loop -> mni"), "{problems}");
    assert!(problems.contains("unknown key `rnk`"), "{problems}");
}

#[test]
fn include_problems() {
    insta::assert_snapshot!(bad_files(&[
        ("p.toml", "include = ['a.toml', 'none.toml', 'x/*.toml', 3]\n[task.t]\ndataset = 'x'\n[stages.s]\nkind = 'copy'\n"),
        ("a.toml", "include = ['b.toml']\n[task.t]\ndataset = 'y'\n"),
        ("b.toml", "include = ['a.toml']\n"),
    ], &LoadOptions::default()), @r#"
     × can't read none.toml: No such file or directory (os error 2)
      ╭─[p.toml:1:22]
    1 │ include = ['a.toml', 'none.toml', 'x/*.toml', 3]
      ·                      ───────────
    2 │ [task.t]
      ╰────
     help: paths in `include` are relative to the file that includes

     × no file matches `x/*.toml`
      ╭─[p.toml:1:35]
    1 │ include = ['a.toml', 'none.toml', 'x/*.toml', 3]
      ·                                   ──────────
    2 │ [task.t]
      ╰────
     help: paths in `include` are relative to the file that includes

     × `include` must list strings or tables, not a whole number
      ╭─[p.toml:1:47]
    1 │ include = ['a.toml', 'none.toml', 'x/*.toml', 3]
      ·                                               ─
    2 │ [task.t]
      ╰────
     help: write "FILE" or `{ path = "FILE", stages = true }`

     × `task.t` is defined in two files
      ╭─[p.toml:2:7]
    1 │ include = ['a.toml', 'none.toml', 'x/*.toml', 3]
    2 │ [task.t]
      ·       ┬
      ·       ╰── defined again here
    3 │ dataset = 'x'
      ╰────
     help: it is first defined at a.toml:2:7; rename one of them, or put what differs into a profile

     × files include each other: a.toml -> b.toml -> a.toml
      ╭─[b.toml:1:12]
    1 │ include = ['a.toml']
      ·            ────┬───
      ·                ╰── this closes the circle
      ╰────
     help: move what both need into a third file
    "#);
}

#[test]
fn syntax_errors_of_several_files() {
    insta::assert_snapshot!(bad_files(&[
        ("p.toml", "include = ['a.toml', 'b.toml']\n[stages.s]\nkind = \n[stages.t]\nkind = 'copy'\ninputs = { x = 's' }\n[stages.t]\n"),
        ("a.toml", "[task.t]\ndataset = 'y\n"),
        ("b.toml", "[method.m]\nrnk = 1\n"),
    ], &LoadOptions::default()), @r#"
     × this isn't valid TOML: string values must be quoted, expected literal string
      ╭─[p.toml:3:8]
    2 │ [stages.s]
    3 │ kind = 
      ·        ▲
    4 │ [stages.t]
      ╰────

     × `t` is defined twice
      ╭─[p.toml:7:9]
    6 │ inputs = { x = 's' }
    7 │ [stages.t]
      ·         ┬
      ·         ╰── defined again here
      ╰────
     help: keep one of the two; a table's keys can't be spread over two headers of the same name

     × this isn't valid TOML: invalid literal string, expected `'`
      ╭─[a.toml:2:13]
    1 │ [task.t]
    2 │ dataset = 'y
      ·             ▲
      ╰────

     × unknown key `rnk`
      ╭─[b.toml:2:1]
    1 │ [method.m]
    2 │ rnk = 1
      · ───
      ╰────
     help: did you mean `rank`?
    "#);
}

#[test]
fn a_file_that_is_not_there() {
    let folder = Folder::new(&[]);
    let loaded = folder.load(&LoadOptions::default());
    assert!(loaded.spec.is_none());
    assert!(folder.problems(&loaded).contains("can't read p.toml"));
    let loaded = Folder::new(&[("p.toml", "")]).load(&LoadOptions::default());
    assert!(loaded.diagnostics[0].message.ends_with("has no stages"));
}

#[test]
fn problems_of_one_value_are_told_once_for_all_actions() {
    let folder =
        Folder::new(&[("p.toml", "[stages.s]\nkind = 'copy'\nmatrix = { x = [1, 2, 3] }\nfrom = '${x}'\nb = 1\n")]);
    let loaded = folder.load(&LoadOptions::default());
    let messages: Vec<_> = loaded.diagnostics.iter().map(|d| d.message.as_str()).collect();
    let wrong = "`from` must be a string, not a whole number";
    assert_eq!(messages, [wrong, wrong, wrong, "unknown key `b`"]);
}

fn keys(schema: &serde_json::Value, pointer: &str) -> Vec<String> {
    let object = schema.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {schema:#}"));
    let mut keys: Vec<_> = object.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

#[test]
fn the_schema_has_the_keys_that_the_parser_takes() {
    let schema = json_schema(&vocabulary());
    let sorted = |keys: &[&str]| {
        let mut keys: Vec<_> = keys.iter().map(|k| k.to_string()).collect();
        keys.sort();
        keys
    };
    let tables = ["pipeline", "axes", "params", "stages", "remote", "task", "method"];
    assert_eq!(keys(&schema, "/properties"), sorted(&[&tables[..], &["include", "profile"]].concat()));
    let profile = "/properties/profile/additionalProperties/properties";
    assert_eq!(keys(&schema, profile), sorted(&[&tables[..], &pipeline::PROFILE_KEYS].concat()));
    let stage = "/properties/stages/additionalProperties/oneOf/1/properties";
    assert_eq!(keys(&schema, stage), sorted(&[&stage::COMMON_KEYS[..], &["from"]].concat()));
    // What the schema offers, the parser takes.
    for key in keys(&schema, "/$defs/PipelineTable/properties") {
        let value = match key.as_str() {
            "seeds" => "[1]",
            "goals" => "['s']",
            _ => "'mini'",
        };
        good(
            &format!("[pipeline]\n{key} = {value}\n[stages.s]\nkind = 'copy'\n[profile.mini]\n"),
            &LoadOptions::default(),
        );
    }
    for (key, value) in
        [("matrix", "{ x = [1] }"), ("exclude", "[]"), ("inputs", "{}"), ("resources", "{}"), ("export", "'x'")]
    {
        assert!(stage::COMMON_KEYS.contains(&key));
        good(&format!("[stages.s]\nkind = 'copy'\n{key} = {value}\n"), &LoadOptions::default());
    }
}

#[test]
fn what_the_parser_takes_the_schema_knows() {
    let schema = json_schema(&vocabulary());
    let unknown = |text: &str| {
        let (table, problems) = parse::parse_text(0, text);
        assert!(problems.is_empty());
        unknown_to_schema(&schema, &Node::new(Span::default(), Value::Table(table)))
    };
    assert_eq!(unknown(PIPELINE), [""; 0]);
    assert_eq!(
        unknown(
            "include = []\nextra = 1\n[pipeline]\nnam = 1\n[task.t]\nlabel = 1\nmetric = { name = 'f-score', beta = 1, x = 2 }\n\
             [task.u]\nmetric = { name = 'accuracy', beta = 1 }\n[method.m]\noptions = { a = 1 }\n[stages.s]\nkind = 'copy'\nnote = 1\n\
             [stages.t]\nkind = 'train'\nnote = 1\nnested.rnk = 1\n[profile.p]\nincluded = 1\ntask.t.dataste = 1\nstages.s.export = 'x'\n"
        ),
        [
            "extra",
            "pipeline.nam",
            "task.t.label",
            "task.t.metric.x",
            "task.u.metric.beta",
            "stages.s.note",
            "stages.t.nested.rnk",
            "profile.p.included",
            "profile.p.task.t.dataste"
        ]
    );
}

#[test]
fn profiles_in_the_schema_need_nothing_and_stages_may_interpolate() {
    let schema = json_schema(&vocabulary());
    assert_eq!(schema.pointer("/$defs/Method/required").map(ToString::to_string).as_deref(), Some("[\"rank\"]"));
    assert!(schema.pointer("/$defs/Method.partial/properties").is_some());
    assert!(schema.pointer("/$defs/Method.partial/required").is_none());
    let train = schema.pointer("/properties/stages/additionalProperties/oneOf/0").unwrap();
    assert_eq!(train["required"].to_string(), r#"["kind","method","seed"]"#);
    assert_eq!(train["properties"]["seed"]["anyOf"][1]["$ref"], "#/$defs/template");
    assert_eq!(train["properties"]["kind"]["const"], "train");
    let text = schema.to_string();
    for (at, _) in text.match_indices("\"$ref\":\"#/$defs/") {
        let name = text[at + 16..].split('"').next().unwrap();
        assert!(schema["$defs"].get(name).is_some(), "{name} is referred to and not defined");
    }
}

#[test]
fn many_actions_expand_quickly() {
    let seeds: Vec<_> = (0..10_000).map(|n| n.to_string()).collect();
    let text = PIPELINE.replace("seeds = [0, 1]", &format!("seeds = [{}]", seeds.join(",")));
    let started = std::time::Instant::now();
    let spec = good(&text, &LoadOptions::default());
    // About 0.2 s; anything quadratic takes minutes.
    assert!(started.elapsed().as_secs() < 20);
    assert_eq!(spec.stage("train").unwrap().actions.len(), 29_999);
}

#[test]
fn files_are_found_where_the_user_points() {
    let sources = SourceMap { files: vec![(PathBuf::from("a/b.toml"), "x".into())] };
    assert_eq!(sources.place(Span { file: 0, start: 0, end: 1 }), "a/b.toml:1:1");
}
