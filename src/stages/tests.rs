//! Training and evaluation as stages, end to end on a tiny model.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{evaluate::Evaluate, train::Train};
use crate::{
    base::digest::Digest,
    config::{ActionSpec, Diagnostic, InputSpec, Key, Node, Pipeline, Span, Spec, Value as V},
    data::{Answer, LengthStats, TOKENS_FILE, TOKENS_INFO_FILE, TokensInfo, frame},
    engine::{Artifact, Context, Job, ResolveContext, Resolved, StageKind, Unwatched},
    eval::Evaluation,
    train::TrainingSummary,
};

pub(super) fn node(json: &Value) -> Node {
    let value = match json {
        Value::Bool(b) => V::Bool(*b),
        Value::Number(n) => n.as_i64().map_or_else(|| V::Float(n.as_f64().unwrap()), V::Int),
        Value::String(s) => V::Str(s.clone()),
        Value::Array(items) => V::Array(items.iter().map(node).collect()),
        Value::Object(map) => {
            V::Table(map.iter().map(|(k, v)| (k.clone(), (Key { span: Span::default() }, node(v)))).collect())
        }
        Value::Null => unreachable!("TOML has no null"),
    };
    Node { span: Span::default(), value }
}

/// A pipeline with the method `m` as given and one stage of `kind`.
fn resolve(kind: &dyn StageKind, method: Value, stage: Value, roles: &[&str]) -> Result<Resolved, Vec<Diagnostic>> {
    let definitions = json!({
        "model": { "tiny": { "family": "llama", "title": "Tiny", "source": { "m": "file:m" } } },
        "method": { "m": method },
        "task": { "t": { "title": "T", "dataset": "d", "scheme": "2" } },
        "dataset": { "d": {
            "title": "Data", "language": "English", "construct": "sentiment", "license": "CC0-1.0", "source": { "f": "file:f" },
            "read": { "format": "delimited", "delimiter": "," }, "fields": { "text": "text", "label": "label" },
            "split": { "train": 0.8, "dev": 0.1, "test": 0.1 },
            "schemes": { "2": { "labels": ["bad", "good"] } },
        } },
    });
    let definitions = definitions.as_object().unwrap().iter().map(|(kind, names)| {
        (kind.clone(), names.as_object().unwrap().iter().map(|(name, table)| (name.clone(), node(table))).collect())
    });
    let pipeline = Pipeline { name: "p".into(), description: None, root: "/".into(), seeds: vec![], goals: vec![] };
    let spec = Spec {
        pipeline,
        profile: None,
        definitions: definitions.collect(),
        stages: vec![],
        tracked_fs: Default::default(),
    };
    let input = |role: &&str| InputSpec { role: (*role).to_owned(), span: Span::default(), stages: vec![] };
    let action = ActionSpec {
        axes: vec![],
        params: node(&stage),
        inputs: roles.iter().map(input).collect(),
        resources: None,
        export: None,
    };
    kind.resolve(&ResolveContext { spec: &spec, action: &action })
}

fn lora() -> Value {
    json!({ "title": "LoRA", "adapter": { "kind": "lora", "rank": 4 }, "batch_size": 4, "epochs": 3.0, "learning_rate": 0.02,
        "dev_every_steps": 5 })
}

fn train_stage() -> Value {
    json!({ "model": "tiny", "method": "m", "seed": 3 })
}

fn evaluate_stage() -> Value {
    json!({ "model": "tiny", "task": "t", "method": "m", "seed": 3, "bootstrap": { "samples": 20 } })
}

struct Workplace {
    dir: tempfile::TempDir,
}

impl Workplace {
    /// Two labels; the third token from the end of a prompt decides.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rows: Vec<u32> = (0..40).collect();
        let prompts: Vec<Vec<u32>> = rows.iter().map(|i| vec![1, 5, 6, 20 + i, 100 + i % 2, 7, 8]).collect();
        let splits: Vec<&str> = rows.iter().map(|i| ["train", "train", "dev", "test"][*i as usize / 10]).collect();
        let ids: Vec<String> = rows.iter().map(|i| format!("e{i}")).collect();
        let labels: Vec<u32> = rows.iter().map(|i| i % 2).collect();
        use polars::prelude::{NamedFrom, Series};
        let truncated: Vec<bool> = rows.iter().map(|i| *i == 39).collect();
        frame::write_parquet(
            &dir.path().join(TOKENS_FILE),
            vec![
                frame::string_column("id", &ids),
                frame::string_column("split", &splits),
                frame::u32_column("label_id", &labels),
                frame::u32_list_column("input_ids", &prompts),
                Series::new("truncated".into(), truncated).into(),
            ],
        )
        .unwrap();
        let answer = |label: &str, words: &str, ids: &[u32]| Answer {
            label: label.into(),
            words: words.into(),
            ids: ids.to_vec(),
        };
        let info = TokensInfo {
            tokenizer: "test".into(),
            vocab_size: 320,
            // Bytes of the tokenizer.
            labels: vec![answer("bad", "ba", &[104, 103]), answer("good", "b", &[104])],
            end_id: 2,
            instruction: "{sentence}".into(),
            example: "x".into(),
            max_tokens: None,
            prompt_tokens: LengthStats { min: 7, median: 7, p95: 7, max: 7, total: 280 },
            truncated: 1,
            truncated_by_split: BTreeMap::from([("test".to_owned(), 1)]),
        };
        fs::write(dir.path().join(TOKENS_INFO_FILE), serde_json::to_vec(&info).unwrap()).unwrap();
        Self { dir }
    }

    /// Runs an action and returns its artifact.
    fn run_on(
        &self,
        threads: usize,
        kind: &dyn StageKind,
        resolved: Resolved,
        adapter: Option<Artifact>,
        out: &str,
    ) -> crate::base::error::Result<Artifact> {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-tiny");
        let mut model = artifact(&model, &["config.json", "model.safetensors"]);
        let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sentencepiece/plain.model");
        model.files.insert("tokenizer.model".to_owned(), tokenizer);
        let inputs = [("tokens", artifact(self.dir.path(), &[TOKENS_FILE, TOKENS_INFO_FILE])), ("model", model)];
        let mut inputs: BTreeMap<_, _> = inputs.map(|(role, a)| (role.to_owned(), vec![a])).into();
        inputs.extend(adapter.map(|a| ("adapter".to_owned(), vec![a])));
        let job = Job {
            kind: kind.name().to_owned(),
            action: format!("{}[test]", kind.name()),
            params: resolved.params,
            unkeyed: resolved.unkeyed,
            private: resolved.private,
            inputs,
            threads,
            memory: 0,
            notes: Vec::new(),
        };
        let (out, work) = (self.dir.path().join(out), self.dir.path().join(format!("{out}-work")));
        fs::create_dir(&out).unwrap();
        fs::create_dir(&work).unwrap();
        kind.run(&Context { job: &job, out: &out, work: &work, progress: &Unwatched })?;
        let names: Vec<String> =
            fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        Ok(artifact(&out, &names.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    fn run(
        &self,
        kind: &dyn StageKind,
        resolved: Resolved,
        adapter: Option<Artifact>,
        out: &str,
    ) -> crate::base::error::Result<Artifact> {
        self.run_on(1, kind, resolved, adapter, out)
    }
}

fn artifact(dir: &Path, names: &[&str]) -> Artifact {
    let files: BTreeMap<String, PathBuf> = names.iter().map(|n| ((*n).to_owned(), dir.join(n))).collect();
    Artifact { digest: Digest::of(b"test"), files }
}

fn bytes(artifact: &Artifact) -> BTreeMap<&str, Vec<u8>> {
    artifact.files.iter().map(|(name, path)| (name.as_str(), fs::read(path).unwrap())).collect()
}

fn evaluation(artifact: &Artifact) -> Evaluation {
    serde_json::from_slice(&fs::read(artifact.file("metrics.json").unwrap()).unwrap()).unwrap()
}

#[test]
fn an_adapter_is_trained_and_evaluated() {
    let w = Workplace::new();
    let train = || resolve(&Train, lora(), train_stage(), &["tokens", "model"]).unwrap();
    let adapter = w.run(&Train, train(), None, "a").unwrap();
    assert_eq!(
        adapter.files.keys().collect::<Vec<_>>(),
        ["adapter_config.json", "adapter_model.safetensors", "training.json"]
    );
    let summary: TrainingSummary =
        serde_json::from_slice(&fs::read(adapter.file("training.json").unwrap()).unwrap()).unwrap();
    assert_eq!((summary.steps, summary.examples, summary.dev.len()), (15, 20, 3));
    assert_eq!(bytes(&adapter), bytes(&w.run_on(3, &Train, train(), None, "b").unwrap()), "on any number of threads");

    let roles = ["tokens", "model", "adapter"];
    let evaluate = || resolve(&Evaluate, lora(), evaluate_stage(), &roles).unwrap();
    let result = w.run(&Evaluate, evaluate(), Some(adapter.clone()), "c").unwrap();
    let e = evaluation(&result);
    assert_eq!((e.n, e.truncated, e.metrics.n, e.seed), (10, 1, 10, Some(3)));
    assert_eq!((e.task.dataset.as_str(), e.method.title.as_str(), e.model.title.as_str()), ("Data", "LoRA", "Tiny"));
    let training = e.training.unwrap();
    assert_eq!((training.adapter.as_str(), training.steps, &training.loss), ("lora", 15, &summary.loss));
    let table = frame::read_parquet(result.file("predictions.parquet").unwrap()).unwrap();
    assert_eq!(frame::strings(&table, "id").unwrap()[0], "e30");
    let scores = frame::f32_lists(&table, "scores").unwrap();
    assert!(scores.iter().all(|s| (s.iter().map(|x| x.exp()).sum::<f32>() - 1.0).abs() < 1e-5));
    let predicted = frame::u32s(&table, "predicted_id").unwrap();
    assert!(scores.iter().zip(predicted).all(|(s, p)| s[p as usize] >= s[1 - p as usize]));
    assert_eq!(bytes(&result), bytes(&w.run_on(3, &Evaluate, evaluate(), Some(adapter), "d").unwrap()));
}

#[test]
fn an_unadapted_model_is_evaluated_without_an_adapter() {
    let w = Workplace::new();
    let none = json!({ "title": "Zero-shot", "adapter": { "kind": "none" } });
    let stage = json!({ "model": "tiny", "task": "t", "method": "m" });
    let e = evaluation(&w.run(&Evaluate, resolve(&Evaluate, none, stage, &[]).unwrap(), None, "a").unwrap());
    assert_eq!((e.training, e.seed, e.method.title.as_str()), (None, None, "Zero-shot"));
}

fn answering(mode: &str, split: &str) -> Value {
    let mut stage = evaluate_stage();
    stage["answer"] = mode.into();
    stage["split"] = split.into();
    stage
}

fn predicted(artifact: &Artifact) -> Vec<Option<u32>> {
    let table = frame::read_parquet(artifact.file("predictions.parquet").unwrap()).unwrap();
    table.column("predicted_id").unwrap().as_materialized_series().u32().unwrap().iter().collect()
}

#[test]
fn generated_answers_agree_with_ranked_ones_and_with_what_was_taught() {
    let w = Workplace::new();
    let roles = ["tokens", "model", "adapter"];
    let mut method = lora();
    method["epochs"] = json!(30.0);
    method["adapter"]["target_modules"] = json!(["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"]);
    let adapter = w.run(&Train, resolve(&Train, method.clone(), train_stage(), &[]).unwrap(), None, "a").unwrap();
    let evaluate = |mode: &str| resolve(&Evaluate, method.clone(), answering(mode, "train"), &roles).unwrap();
    let generated = w.run(&Evaluate, evaluate("generate"), Some(adapter.clone()), "g").unwrap();
    let ranked = w.run(&Evaluate, evaluate("rank"), Some(adapter.clone()), "r").unwrap();
    let e = evaluation(&generated);
    assert_eq!((e.answer.as_str(), e.metrics.unparsable), ("generate", 0));
    assert!(e.metrics.accuracy > 0.9, "{}", e.metrics.accuracy);
    let table = frame::read_parquet(generated.file("predictions.parquet").unwrap()).unwrap();
    let answers = frame::strings(&table, "answer").unwrap();
    for ((answer, label), rank) in answers.iter().zip(predicted(&generated)).zip(predicted(&ranked)) {
        assert_eq!(*answer, ["ba", "b"][label.unwrap() as usize]);
        assert_eq!(label, rank);
    }
    assert!(table.column("scores").is_err());
    assert_eq!(bytes(&generated), bytes(&w.run_on(3, &Evaluate, evaluate("generate"), Some(adapter), "h").unwrap()));
}

#[test]
fn answers_that_name_no_label_are_wrong() {
    let w = Workplace::new();
    let none = json!({ "title": "Zero-shot", "adapter": { "kind": "none" } });
    let stage = json!({ "model": "tiny", "task": "t", "method": "m", "answer": "generate", "max_new_tokens": 3 });
    let result = w.run(&Evaluate, resolve(&Evaluate, none, stage, &[]).unwrap(), None, "a").unwrap();
    let m = evaluation(&result).metrics;
    let labels = predicted(&result);
    assert_eq!(m.unparsable as usize, labels.iter().filter(|l| l.is_none()).count());
    assert!(m.unparsable > 0, "random weights write nothing in particular");
    let right = m.confusion[0][0] + m.confusion[1][1];
    assert_eq!(m.accuracy, right as f64 / m.n as f64);
}

#[test]
fn a_head_is_trained_and_answers() {
    let w = Workplace::new();
    let roles = ["tokens", "model", "adapter"];
    for (name, adapter) in [("lora", json!("lora")), ("ptuning2", json!("ptuning2")), ("alone", json!("none"))] {
        let method = json!({ "title": "Head", "adapter": { "kind": adapter }, "head": true, "batch_size": 4, "epochs": 20.0,
            "learning_rate": 0.05, "dev_every_steps": 50 });
        let resolved = || resolve(&Train, method.clone(), train_stage(), &[]).unwrap();
        let adapter = w.run(&Train, resolved(), None, name).unwrap();
        let again = w.run_on(3, &Train, resolved(), None, &format!("{name}-3")).unwrap();
        assert_eq!(bytes(&adapter), bytes(&again), "{name} on any number of threads");
        let evaluate = || resolve(&Evaluate, method.clone(), answering("head", "train"), &roles).unwrap();
        let result = w.run(&Evaluate, evaluate(), Some(adapter.clone()), &format!("{name}-e")).unwrap();
        let e = evaluation(&result);
        assert_eq!((e.answer.as_str(), e.metrics.n, e.metrics.unparsable), ("head", 20, 0));
        assert!(e.metrics.accuracy > 0.9, "{name}: {}", e.metrics.accuracy);
        let table = frame::read_parquet(result.file("predictions.parquet").unwrap()).unwrap();
        let scores = frame::f32_lists(&table, "scores").unwrap();
        assert!(scores.iter().all(|s| (s.iter().map(|x| x.exp()).sum::<f32>() - 1.0).abs() < 1e-5));
    }
}

#[test]
fn heads_and_ways_to_answer_must_fit() {
    let found = |method: &Value, mode: &str| {
        let found = resolve(&Evaluate, method.clone(), answering(mode, "test"), &["adapter"]);
        found.map(drop).map_err(|d| (d[0].message.clone(), d[0].span.is_some(), d[0].help.is_some()))
    };
    let mut head = lora();
    head["head"] = json!(true);
    assert!(found(&head, "head").is_ok() && found(&lora(), "rank").is_ok() && found(&lora(), "generate").is_ok());
    let (message, span, help) = found(&lora(), "head").unwrap_err();
    assert!(message.contains("`m` trains no head") && span && help, "{message}");
    for mode in ["rank", "generate"] {
        let (message, span, help) = found(&head, mode).unwrap_err();
        assert!(message.contains("trains a classification head") && message.contains(mode) && span && help);
    }
    let tokens = |mode: &str, n: i64| {
        let mut stage = answering(mode, "test");
        stage["max_new_tokens"] = n.into();
        resolve(&Evaluate, lora(), stage, &["adapter"]).map(|r| r.params["max_new_tokens"].clone())
    };
    assert_eq!(tokens("generate", 4).unwrap(), 4);
    assert!(tokens("generate", 0).unwrap_err()[0].message.contains("at least 1"));
    assert!(tokens("rank", 4).unwrap_err()[0].message.contains("only with"));

    // Keys of methods without a head are as they were.
    assert!(resolve(&Train, lora(), train_stage(), &[]).unwrap().params.get("head").is_none());
    let ranked = resolve(&Evaluate, lora(), evaluate_stage(), &["adapter"]).unwrap().params;
    assert!(ranked.get("max_new_tokens").is_none() && ranked["answer"] == "rank");
}

#[test]
fn prefixes_start_from_the_prompts_common_beginning() {
    let w = Workplace::new();
    let method =
        json!({ "title": "P", "adapter": { "kind": "ptuning2", "virtual_tokens": 4, "init": "text" }, "steps": 1 });
    let resolved = resolve(&Train, method, train_stage(), &[]).unwrap();
    assert!(w.run(&Train, resolved, None, "a").is_ok());
}

#[test]
fn a_model_without_the_split_says_what_there_is() {
    let w = Workplace::new();
    let resolved = resolve(&Train, lora(), train_stage(), &[]).unwrap();
    let table = frame::read_parquet(&w.dir.path().join(TOKENS_FILE)).unwrap().slice(20, 20);
    frame::write_parquet(&w.dir.path().join(TOKENS_FILE), table.columns().to_vec()).unwrap();
    let error = w.run(&Train, resolved, None, "a").unwrap_err();
    assert!(error.message.contains("split `train` has no examples"), "{error}");
    assert!(error.help.unwrap().contains("dev, test"));
}

#[test]
fn what_can_change_an_adapter_is_in_its_key_and_nothing_else() {
    let params = |method: Value, stage: Value| resolve(&Train, method, stage, &[]).unwrap().params;
    let base = params(lora(), train_stage());
    let with = |key: &str, value: Value| {
        let mut method = lora();
        match key.strip_prefix("adapter.") {
            Some(option) => method["adapter"][option] = value,
            None => method[key] = value,
        }
        params(method, train_stage())
    };
    for (key, value) in [
        ("adapter.rank", json!(2)),
        ("adapter.alpha", json!(1.0)),
        ("adapter.dropout", json!(0.5)),
        ("adapter.target_modules", json!(["k_proj"])),
        ("batch_size", json!(2)),
        ("gradient_accumulation_steps", json!(2)),
        ("epochs", json!(4.0)),
        ("learning_rate", json!(1.0)),
        ("weight_decay", json!(0.5)),
        ("betas", json!([0.1, 0.2])),
        ("eps", json!(1e-3)),
        ("max_grad_norm", json!(2.0)),
        ("schedule", json!("constant")),
        ("warmup", json!(3.0)),
        ("dev_every_steps", json!(7)),
        ("dev_examples", json!(7)),
        ("head", json!(true)),
    ] {
        assert_ne!(base, with(key, value), "{key}");
    }
    for (key, value) in [
        ("title", json!("Another")),
        ("checkpoint_every_steps", json!(1)),
        ("checkpoint_every_seconds", json!(1)),
        ("max_loss_rise", json!(1.0)),
        // The default, written out.
        ("weight_decay", json!(0.0)),
        ("adapter.target_modules", json!(["q_proj", "v_proj"])),
    ] {
        assert_eq!(base, with(key, value), "{key}");
    }
    assert_ne!(base, params(lora(), json!({ "model": "tiny", "method": "m", "seed": 4 })));
}

#[test]
fn what_can_change_predictions_is_in_their_key() {
    let params = |stage: Value| resolve(&Evaluate, lora(), stage, &["adapter"]).unwrap().params;
    let base = params(evaluate_stage());
    for (key, value) in [
        ("seed", json!(4)),
        ("split", json!("dev")),
        ("answer", json!("generate")),
        ("bootstrap", json!({ "samples": 21 })),
    ] {
        let mut stage = evaluate_stage();
        stage[key] = value;
        assert_ne!(base, params(stage), "{key}");
    }
}

#[test]
fn stages_that_cannot_work_are_refused() {
    let message = |found: Result<Resolved, Vec<Diagnostic>>| found.unwrap_err()[0].message.clone();
    let none = json!({ "title": "Zero-shot", "adapter": { "kind": "none" } });
    assert!(message(resolve(&Train, none, train_stage(), &[])).contains("nothing to train"));
    assert!(message(resolve(&Evaluate, lora(), evaluate_stage(), &[])).contains("no `adapter` input"));
    let stage = json!({ "model": "tinny", "method": "m" });
    assert!(message(resolve(&Train, lora(), stage, &[])).contains("no model `tinny`"));
    let stage = json!({ "model": "tiny", "task": "t", "split": "tset" });
    assert!(message(resolve(&Evaluate, lora(), stage, &[])).contains("no split `tset`"));
    assert_eq!(Train.check(&node(&json!({ "model": "tiny", "method": "m", "sede": 1 }))).len(), 1);
}
