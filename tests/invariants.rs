//! What holds for every pipeline: keys know every parameter, plans are stable, schedules respect edges and resources.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicUsize},
};

use common::{
    Project,
    tiny::{films, write_model},
};
use emopipe::{
    base::{digest::Digest, error::IoAt, machine::Resources},
    config::{self, Diagnostic, LoadOptions, Node, Vocabulary, load, render},
    engine::{
        Context, Isolation, Registry, ResolveContext, Resolved, StageKind,
        journal::{Entry, Event, Observer},
        plan::{Finished, Forecast, Plan, Selection},
        scheduler::{self, Limits, Options},
        vocabulary_entry,
    },
    stages,
    store::Store,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A stage of every kind, definitions of every kind that stages read, and methods of every adapter.
const EVERYTHING: &str = r#"
[pipeline]
name = "everything"

[model.tiny]
family = "llama"
[model.tiny.source]
"config.json" = { url = "file:model/config.json" }
"model.safetensors" = { url = "file:model/model.safetensors" }
"tokenizer.json" = { url = "file:model/tokenizer.json" }
"tokenizer_config.json" = { url = "file:model/tokenizer_config.json" }

[dataset.films]
title = "Films"
language = "English"
construct = "sentiment"
license = "CC0-1.0"
read = { format = "delimited", delimiter = "\t", quoted = false, columns = ["id", "rating", "text"] }
fields = { id = ["id"], text = "text", value = "rating" }
normalize = ["collapse-whitespace", "trim"]
split = { train = 0.6, dev = 0.1, test = 0.3 }
expect = { rows = 81 }
[dataset.films.source]
"films.tsv" = { url = "file:films.tsv" }
[dataset.films.schemes.2]
labels = ["negative", "positive"]
bins = { negative = "[-4, 0)", positive = "(0, 4]" }

[dataset.films.schemes.another]
labels = ["bad", "good"]
bins = { bad = "[-4, 0)", good = "(0, 4]" }

[dataset.presplit]
title = "Films in splits"
language = "English"
construct = "sentiment"
license = "CC0-1.0"
read = { format = "delimited" }
fields = { text = "text", label = "rating", split = "part" }
source."films.tsv" = { url = "file:films.tsv" }
schemes.2.labels = ["negative", "positive"]

[dataset.listed]
title = "Films in lists"
language = "English"
construct = "sentiment"
license = "CC0-1.0"
read = { format = "json", rows = "{film}" }
fields = { text = "text", label = "rating", split = "part", split_lists = { train = "train.txt", dev = "dev.txt", test = "test.txt" } }
source."films.json" = { url = "file:films.tsv" }
source."train.txt" = { url = "file:films.tsv" }
source."dev.txt" = { url = "file:films.tsv" }
source."test.txt" = { url = "file:films.tsv" }
source."other.txt" = { url = "file:films.tsv" }
files = [{ name = "films.json" }]
schemes.2.labels = ["negative", "positive"]

[task.listed]
title = "Films in lists"
dataset = "listed"
scheme = "2"
[task.films-2]
title = "Films-2"
dataset = "films"
scheme = "2"
[task.presplit]
title = "Films in splits"
dataset = "presplit"
scheme = "2"
[task.another]
title = "Films again"
dataset = "films"
scheme = "another"
instruction = "{labels}? {sentence}"

[model.another]
family = "llama"
title = "Another"
chat_template = "{{ messages[0]['content'] }}"
source."config.json" = { url = "file:model/config.json" }

[method.another]
title = "Small LoRA"
adapter = { kind = "lora", rank = 1 }
[method.unevaluated]
title = "Only trained"
adapter = { kind = "lora" }
[method.none]
title = "zero-shot"
adapter = { kind = "none" }
[method.ptuning2]
title = "P-Tuning v2"
adapter = { kind = "ptuning2", init = "text" }
[method.prefix]
title = "Prefix from chance"
adapter = { kind = "ptuning2" }
[method.lora]
title = "LoRA"
adapter = { kind = "lora" }
dev_every_steps = 5

[stages.raw]
kind = "download"
from = "dataset.films"
[stages.backbone]
kind = "download"
from = "model.tiny"
[stages.examples]
kind = "prepare"
inputs = { raw = "raw" }
task = "films-2"
[stages.presplit]
kind = "prepare"
inputs = { raw = "raw" }
task = "presplit"
[stages.listed]
kind = "prepare"
inputs = { raw = "raw" }
task = "listed"
[stages.tokens]
kind = "tokenize"
inputs = { examples = "examples", model = "backbone" }
task = "films-2"
model = "tiny"
[stages.train]
kind = "train"
matrix = { method = ["ptuning2", "prefix", "lora"] }
inputs = { tokens = "tokens", model = "backbone" }
model = "tiny"
method = "${method}"
[stages.unevaluated]
kind = "train"
inputs = { tokens = "tokens", model = "backbone" }
model = "tiny"
method = "unevaluated"
[stages.adapted]
kind = "evaluate"
matrix = { method = ["ptuning2", "prefix", "lora"] }
inputs = { tokens = "tokens", model = "backbone", adapter = "train" }
model = "tiny"
task = "films-2"
method = "${method}"
[stages.zero-shot]
kind = "evaluate"
inputs = { tokens = "tokens", model = "backbone" }
model = "tiny"
task = "films-2"
method = "none"
[stages.spoken]
kind = "evaluate"
inputs = { tokens = "tokens", model = "backbone" }
model = "tiny"
task = "films-2"
answer = "generate"
[stages.memory]
kind = "memory-plan"
inputs = { tokens = "tokens" }
title = "Memory"
model = "tiny"
methods = ["lora"]
budget = "1 GiB"
[stages.datasets]
kind = "dataset-table"
inputs = { examples = "examples" }
name = "table-0"
title = "Datasets"
datasets = ["films"]
[stages.tables]
kind = "report"
inputs = { evaluations = ["zero-shot", "adapted"], examples = "examples" }
title = "Tiny"
methods = ["none", "ptuning2", "lora"]
publication = { title = "Elsewhere", model = "tiny", answer = "rank", examples = { films-2 = { train = 12, test = 4 } } }
tables = [{ name = "table-1", title = "Films", tasks = ["films-2"], metrics = ["accuracy"] }]
[stages.own]
kind = "exec"
inputs = { tables = "tables" }
command = ["true"]
files = ["films.tsv"]
outputs = ["a"]
"#;

/// Fields that are in no key, and why that is right.
const UNKEYED: &[(&str, &str)] = &[
    ("dataset.source", "raw files enter keys by their content"),
    ("model.source", "weights enter keys by their content"),
    ("task.metrics", "no stage reads it yet: a report's own tables say which metrics they show"),
    ("method.checkpoint_every_steps", "when a training is saved can't change where it ends"),
    ("method.checkpoint_every_seconds", "when a training is saved can't change where it ends"),
    ("method.max_loss_rise", "decides whether a training is given up, not what it gives"),
    ("exec.secret_env", "a secret opens doors, and what lies behind them is no part of the description"),
    ("exec.tolerance", "decides how a repetition is judged, not what it gives"),
];

/// Values for fields whose type doesn't say what is allowed, with what else has to change for them.
const VALUES: &[(&str, &[(&str, &str)])] = &[
    ("dataset-table.datasets", &[("datasets", "['films', 'presplit']")]),
    ("dataset-table.published", &[("published", "{ films = { labels = ['negative', 'positive'] } }")]),
    ("dataset.fields.split_lists.train", &[("fields.split_lists.train", "'other.txt'")]),
    ("dataset.fields.split_lists.dev", &[("fields.split_lists.dev", "'other.txt'")]),
    ("dataset.fields.split_lists.test", &[("fields.split_lists.test", "'other.txt'")]),
    ("dataset.read.columns", &[("read.columns", "['id', 'rating', 'text', 'q']")]),
    ("dataset.read.rows", &[("read.rows", "'{scene}.lines.{line}'")]),
    ("dataset.files", &[("files", "[{ name = 'films.tsv', label = '2' }]")]),
    ("dataset.read.format", &[("read.format", "'lines'")]),
    ("dataset.schemes", &[("schemes", "{ 2 = { bins = { negative = '[-5, 0)' } } }")]),
    ("dataset.split.train", &[("split.train", "0.5"), ("split.dev", "0.2")]),
    ("dataset.split.dev", &[("split.train", "0.5"), ("split.dev", "0.2")]),
    ("dataset.split.test", &[("split.train", "0.5"), ("split.test", "0.4")]),
    ("download.only", &[("only", "['config.json']")]),
    ("exec.files", &[("files", "['pipeline.toml']")]),
    (
        "model.config",
        &[(
            "config",
            "{ attention_bias = false, attention_dropout = 0.0, bos_token_id = 1, eos_token_id = 2, head_dim = 16, hidden_act = 'silu', hidden_size = 64, initializer_range = 0.02, intermediate_size = 112, max_position_embeddings = 128, mlp_bias = false, model_type = 'llama', num_attention_heads = 4, num_hidden_layers = 3, num_key_value_heads = 2, pretraining_tp = 1, rms_norm_eps = 1e-06, tie_word_embeddings = false, use_cache = true, vocab_size = 320 }",
        )],
    ),
    ("model.family", &[("family", "'chatglm'")]),
    ("report.choices", &[("choices", "{ method = { lora = { dev_every_steps = 'a guess' } } }")]),
    ("report.publication.answer", &[("publication.answer", "'generate'")]),
    ("report.publication.examples", &[("publication.examples", "{ films-2 = { test = 7 } }")]),
    ("report.layouts", &[("layouts", "[{ name = 'l', title = 'L', rows = 'method', columns = 'task' }]")]),
    ("report.where", &[("where", "{ method = 'lora' }")]),
    ("report.baseline", &[("baseline", "'lora'")]),
    ("report.tables", &[("tables", "[{ name = 't', title = 'T', tasks = ['films-2'] }]")]),
    ("task.dataset", &[("dataset", "'presplit'")]),
];

#[test]
fn every_parameter_changes_a_key_or_has_a_reason() {
    let project = Project::new(EVERYTHING);
    write_model(&project);
    project.write("films.tsv", &films());
    project.emopipe(&["pin"]).ok();
    let keys = |set: &[(String, String)]| keys(&project.path("pipeline.toml"), set);
    let base = keys(&[]).unwrap_or_else(|e| panic!("{e}"));
    let schema = config::json_schema(&stages::vocabulary());
    let spec = loaded(&project.path("pipeline.toml"), &[], &stages::vocabulary()).unwrap();

    // Tables to change, by the name of their kind: `method` for [method.lora], `train` for [stages.train].
    let mut tables: Vec<(String, String, Value)> = Vec::new();
    for (kind, named) in &spec.definitions {
        let of_kind = schema["properties"][kind]["additionalProperties"].clone();
        tables.extend(named.keys().map(|name| (kind.clone(), format!("{kind}.{name}"), of_kind.clone())));
    }
    for kind in stages::REGISTRY {
        let mut generator = schemars::SchemaGenerator::default();
        let mut of_kind = json!(kind.schema(&mut generator));
        of_kind["$defs"] = json!(generator.definitions());
        let of_this: Vec<_> = spec.stages.iter().filter(|s| s.kind == kind.name()).collect();
        assert!(!of_this.is_empty(), "add a stage of kind `{}` to EVERYTHING", kind.name());
        tables.extend(of_this.iter().map(|s| (kind.name().to_owned(), format!("stages.{}", s.name), of_kind.clone())));
    }

    let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let mut changed: BTreeMap<String, bool> = BTreeMap::new();
    let mut tried: BTreeMap<String, String> = BTreeMap::new();
    for (kind, table, table_schema) in &tables {
        let defs = if table_schema["$defs"].is_object() { &table_schema["$defs"] } else { &schema["$defs"] };
        for (field, of_field) in fields(table_schema, defs) {
            let name = format!("{kind}.{field}");
            let found = changed.entry(name.clone()).or_default();
            let set = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
                pairs.iter().map(|(path, value)| (format!("{table}.{path}"), (*value).to_owned())).collect()
            };
            let special = VALUES.iter().filter(|(f, _)| *f == name).map(|(_, pairs)| set(pairs));
            let usual = candidates(&of_field, defs).into_iter().map(|value| set(&[(&field, &value)]));
            for changes in special.chain(usual) {
                if *found {
                    break;
                }
                match keys(&changes) {
                    Ok(now) => *found = now != base,
                    Err(e) => drop(tried.insert(name.clone(), format!("{changes:?}: {}", first_line(&e)))),
                }
            }
        }
    }
    let mut faults = Vec::new();
    let is = |field: &str, listed: &str| field == listed || field.starts_with(&format!("{listed}."));
    for (field, reason) in UNKEYED {
        if !changed.iter().any(|(f, changes)| is(f, field) && !changes) {
            faults.push(format!("{field}: is listed ({reason}), but isn't there or does change a key"));
        }
    }
    for (field, changes) in &changed {
        let reason = UNKEYED.iter().find(|(f, _)| is(field, f));
        if !changes && reason.is_none() {
            let last = tried.get(field).map_or("no value that was tried changed a key", String::as_str);
            faults.push(format!("{field}: {last}"));
        }
    }
    println!("{} fields, {} of them change a key", changed.len(), changed.values().filter(|c| **c).count());
    assert!(
        faults.is_empty(),
        "in no key; fix that, or say why in UNKEYED, or give a value in VALUES:\n{}",
        faults.join("\n")
    );
}

fn loaded(path: &Path, set: &[(String, String)], vocabulary: &Vocabulary) -> Result<config::Spec, String> {
    let loaded = load(path, &LoadOptions { profile: None, set: set.to_vec() }, vocabulary);
    match loaded.spec {
        Some(spec) if loaded.diagnostics.is_empty() => Ok(spec),
        _ => Err(render(&loaded.diagnostics, &loaded.sources)),
    }
}

/// The key that each action would have if every input were the same artifact.
fn keys(path: &Path, set: &[(String, String)]) -> Result<BTreeMap<String, Digest>, String> {
    let spec = loaded(path, set, &stages::vocabulary())?;
    let plan = Plan::new(spec, stages::REGISTRY)
        .map_err(|found| found.iter().map(|d| d.message.clone()).collect::<Vec<_>>().join("; "))?;
    let input = |_| Some(Finished { artifact: Digest::of(b"input"), notes: None });
    Ok((0..plan.actions.len())
        .map(|i| (plan.actions[i].name.clone(), plan.preimage(i, input).unwrap().key()))
        .collect())
}

fn resolve<'a>(schema: &'a Value, defs: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(to) => resolve(&defs[to.rsplit('/').next().unwrap()], defs),
        None => schema,
    }
}

/// Schema of every field that a table may have, by its path; tables of one shape are opened.
fn fields(schema: &Value, defs: &Value) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    let schema = resolve(schema, defs);
    for part in ["oneOf", "anyOf", "allOf"] {
        for one in schema[part].as_array().into_iter().flatten() {
            out.extend(fields(one, defs));
        }
    }
    for (name, of_field) in schema["properties"].as_object().into_iter().flatten() {
        let inner = resolve(of_field, defs);
        let alternatives = ["oneOf", "anyOf"].iter().flat_map(|p| inner[*p].as_array()).flatten();
        let is_table =
            inner["properties"].is_object() || alternatives.clone().any(|a| resolve(a, defs)["properties"].is_object());
        if is_table {
            out.extend(fields(inner, defs).into_iter().map(|(path, s)| (format!("{name}.{path}"), s)));
        } else {
            out.insert(name.clone(), of_field.clone());
        }
    }
    out
}

/// Some values of a field, as TOML; the first that loads and changes a key is enough.
fn candidates(schema: &Value, defs: &Value) -> Vec<String> {
    let schema = resolve(schema, defs);
    let mut out: Vec<String> = Vec::new();
    for part in ["oneOf", "anyOf", "allOf"] {
        out.extend(schema[part].as_array().into_iter().flatten().flat_map(|one| candidates(one, defs)));
    }
    out.extend(schema["enum"].as_array().into_iter().flatten().chain(schema.get("const")).map(Value::to_string));
    let types = match &schema["type"] {
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    };
    for kind in types {
        out.extend(match kind.as_str() {
            Some("boolean") => vec!["true".to_owned(), "false".to_owned()],
            Some("integer") => [3, 7].map(|n| n.to_string()).into(),
            Some("number") => [0.25, 0.5, 2.0].map(|n: f64| format!("{n:?}")).into(),
            Some("string") if schema["enum"].is_null() => {
                ["\"another\"", "\"q\"", "\"Say {sentence}\"", "\"dev\"", "\"model.tiny\"", "\"2 GiB\""]
                    .map(str::to_owned)
                    .into()
            }
            Some("array") => {
                let items = candidates(&schema["items"], defs);
                items.iter().map(|i| format!("[{i}]")).chain(items.get(1).map(|i| format!("[{i}, {i}]"))).collect()
            }
            Some("object") => candidates(&schema["additionalProperties"], defs)
                .iter()
                .flat_map(|v| ["negative", "another"].map(|k| format!("{{ {k} = {v} }}")))
                .collect(),
            _ => Vec::new(),
        });
    }
    out
}

/// A stage kind that writes its own name and parameters, for pipelines made up at random.
struct Echo;

#[derive(Clone, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct EchoTable {
    #[serde(default)]
    word: String,
}

impl StageKind for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn version(&self) -> u32 {
        1
    }

    fn check(&self, params: &Node) -> Vec<Diagnostic> {
        config::check::<EchoTable>(params)
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<EchoTable>()
    }

    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>> {
        let table: EchoTable = config::from_node(&cx.action.params)?;
        Ok(Resolved { params: json!(table), ..Resolved::default() })
    }

    fn isolation(&self) -> Isolation {
        Isolation::InProcess
    }

    fn run(&self, cx: &Context) -> emopipe::base::error::Result<()> {
        // Long enough that actions overlap.
        std::thread::sleep(std::time::Duration::from_millis(2));
        let path = cx.out.join("echo");
        fs::write(&path, format!("{} {}", cx.job.params, cx.job.inputs.len())).io_at("write", &path)
    }
}

static ECHO: Registry = &[&Echo];

/// A stage of a made-up pipeline: inputs among the earlier stages, cores, MiB of memory, values of its own axis.
type Made = (Vec<prop::sample::Index>, u32, u64, usize);

fn made_up() -> impl Strategy<Value = Vec<Made>> {
    prop::collection::vec(
        (prop::collection::vec(any::<prop::sample::Index>(), 0..3), 1u32..4, 1u64..100, 1usize..4),
        1..9,
    )
}

/// The stages as TOML, in this order.
fn text(stages: &[Made], order: &[usize]) -> String {
    let mut out = "[pipeline]\nname = \"made-up\"\n".to_owned();
    for &i in order {
        let (inputs, cores, memory, values) = &stages[i];
        let roles: BTreeSet<usize> = inputs.iter().filter(|_| i > 0).map(|x| x.index(i)).collect();
        let roles: Vec<String> = roles.iter().map(|s| format!("r{s} = \"s{s}\"")).collect();
        let values: Vec<String> = (0..*values).map(|v| format!("\"{v}\"")).collect();
        out += &format!(
            "[stages.s{i}]\nkind = \"echo\"\nword = \"${{x{i}}}\"\nmatrix = {{ x{i} = [{}] }}\ninputs = {{ {} }}\n\
             resources = {{ cores = {cores}, memory = \"{memory} MiB\" }}\n",
            values.join(", "),
            roles.join(", ")
        );
    }
    out
}

fn plan(dir: &Path, text: &str) -> Plan {
    let path = dir.join("pipeline.toml");
    fs::write(&path, text).unwrap();
    let vocabulary = Vocabulary { definitions: Vec::new(), stage_kinds: vec![vocabulary_entry(&Echo)] };
    let spec = loaded(&path, &[], &vocabulary).unwrap();
    Plan::new(spec, ECHO).unwrap_or_else(|found| panic!("{:?}", found[0].message))
}

/// Names, parameters and inputs by name: all that a plan says, whatever order it says it in.
fn meaning(plan: &Plan) -> BTreeMap<String, (String, Vec<String>)> {
    let describe = |i: usize| {
        let action = &plan.actions[i];
        let inputs = action
            .inputs
            .iter()
            .flat_map(|(role, all)| all.iter().map(move |s| format!("{role}: {}", plan.actions[*s].name)));
        (action.name.clone(), (action.resolved.params.to_string(), inputs.collect()))
    };
    (0..plan.actions.len()).map(describe).collect()
}

/// Replays the events of a run against its plan.
struct Referee<'a> {
    plan: &'a Plan,
    machine: Resources,
    running: HashMap<String, (u32, u64)>,
    ended: BTreeSet<String>,
    most_cores: u32,
}

impl Observer for Referee<'_> {
    fn observe(&mut self, entry: &Entry) {
        match &entry.event {
            Event::Started { action, threads, .. } => {
                let i = self.plan.actions.iter().position(|a| a.name == *action).unwrap();
                for input in self.plan.inputs(i) {
                    assert!(self.ended.contains(&self.plan.actions[input].name), "{action} started before its inputs");
                }
                let memory = self.plan.actions[i].resolved.resources.memory;
                assert!(self.running.insert(action.clone(), (*threads as u32, memory)).is_none());
                let (cores, memory) = self.running.values().fold((0, 0), |(c, m), r| (c + r.0, m + r.1));
                assert!(cores <= self.machine.cores && memory <= self.machine.memory, "{:?}", self.running);
                self.most_cores = self.most_cores.max(cores);
            }
            Event::Finished { action, .. } => {
                assert!(self.running.remove(action).is_some());
                self.ended.insert(action.clone());
            }
            Event::Reused { action, .. } => drop(self.ended.insert(action.clone())),
            _ => {}
        }
    }
}

fn options(machine: Resources) -> Options {
    Options {
        limits: Limits { machine, jobs: None },
        keep_going: false,
        selection: Selection::default(),
        env: Vec::new(),
        check: false,
        withheld: Vec::new(),
        remote: None,
        overwrite: false,
        expected: HashMap::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_means_the_same_in_any_order_and_keeps_its_edges(stages in made_up(), seed in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let in_order: Vec<usize> = (0..stages.len()).collect();
        let mut turned = in_order.clone();
        turned.rotate_left(seed.index(stages.len()));
        let (one, again, other) =
            (plan(dir.path(), &text(&stages, &in_order)), plan(dir.path(), &text(&stages, &in_order)), plan(dir.path(), &text(&stages, &turned)));
        let names = |p: &Plan| p.actions.iter().map(|a| a.name.clone()).collect::<Vec<_>>();
        prop_assert_eq!(names(&one), names(&again), "the same order, too");
        prop_assert_eq!(meaning(&one), meaning(&other));
        for p in [&one, &other] {
            for i in 0..p.actions.len() {
                prop_assert!(p.inputs(i).all(|input| input < i));
                prop_assert!(p.inputs(i).all(|input| p.readers(input).any(|r| r == i)));
            }
        }
    }

    #[test]
    fn a_schedule_respects_edges_and_resources_and_leaves_nothing_to_do(stages in made_up(), cores in 1u32..5, memory in 100u64..250) {
        let dir = tempfile::tempdir().unwrap();
        let in_order: Vec<usize> = (0..stages.len()).collect();
        let plan = plan(dir.path(), &text(&stages, &in_order));
        let store = Arc::new(Store::open(&dir.path().join("cache")).unwrap());
        let machine = Resources { cores, memory: memory << 20, gpus: 0 };
        let mut referee = Referee { plan: &plan, machine, running: HashMap::new(), ended: BTreeSet::new(), most_cores: 0 };
        let summary = scheduler::run(&plan, &store, &options(machine), &mut referee, &AtomicUsize::new(0)).unwrap();
        prop_assert!(summary.failed.is_empty() && summary.skipped == 0);
        prop_assert_eq!(referee.ended.len(), plan.actions.len());
        prop_assert_eq!(referee.most_cores, cores, "a lone action gets all cores");
        let nothing = std::collections::HashSet::new();
        let forecast = plan.forecast(&store, &nothing);
        prop_assert!(forecast.iter().all(|f| matches!(f, Forecast::Cached { .. })), "a plan after the run is empty");
        let artifacts = |all: &[Forecast]| all.iter().map(|f| match f {
            Forecast::Cached { key, result, .. } => Some((*key, result.artifact)),
            Forecast::Run { .. } => None,
        }).collect::<Vec<_>>();
        prop_assert_eq!(artifacts(&forecast), artifacts(&plan.forecast(&store, &nothing)));
    }
}
