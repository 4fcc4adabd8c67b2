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

fn entry<T: serde::de::DeserializeOwned + JsonSchema>(name: &'static str) -> Entry {
    Entry { name, check: check::<T>, schema: |generator| generator.subschema_for::<T>() }
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

fn set(path: &str, value: &str) -> LoadOptions {
    LoadOptions { set: vec![(path.into(), value.into())], ..Default::default() }
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
            "include = ['parts/*.toml', 'parts/a.toml']\n[pipeline]\nname = 'own'\n[profile.mini]\ninclude = ['mini/m.toml']\nparams.b = 9\n",
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
"#), @"");
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
"#), @"");
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
"#), @"");
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
"#), @"");
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
"#), @"");
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
    insta::assert_snapshot!(bad_files(&[("p.toml", text)], &options), @"");
    insta::assert_snapshot!(bad_files(&[("p.toml", text)], &profile("mni")), @"");
}

#[test]
fn include_problems() {
    insta::assert_snapshot!(bad_files(&[
        ("p.toml", "include = ['a.toml', 'none.toml', 'x/*.toml', 3]\n[task.t]\ndataset = 'x'\n[stages.s]\nkind = 'copy'\n"),
        ("a.toml", "include = ['b.toml']\n[task.t]\ndataset = 'y'\n"),
        ("b.toml", "include = ['a.toml']\n"),
    ], &LoadOptions::default()), @"");
}

#[test]
fn syntax_errors_of_several_files() {
    insta::assert_snapshot!(bad_files(&[
        ("p.toml", "include = ['a.toml', 'b.toml']\n[stages.s]\nkind = \n[stages.t]\nkind = 'copy'\ninputs = { x = 's' }\n[stages.t]\n"),
        ("a.toml", "[task.t]\ndataset = 'y\n"),
        ("b.toml", "[method.m]\nrnk = 1\n"),
    ], &LoadOptions::default()), @"");
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
    let tables = ["pipeline", "axes", "params", "stages", "task", "method"];
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
    eprintln!("{} actions in {:?}", spec.stage("train").unwrap().actions.len(), started.elapsed());
    assert_eq!(spec.stage("train").unwrap().actions.len(), 20_000 + 9_999 + 1);
}

#[test]
fn files_are_found_where_the_user_points() {
    let sources = SourceMap { files: vec![(PathBuf::from("a/b.toml"), "x".into())] };
    assert_eq!(sources.place(Span { file: 0, start: 0, end: 1 }), "a/b.toml:1:1");
}
