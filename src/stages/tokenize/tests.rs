//! Ids, lengths and refusals of tokenizations.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::quantized::gguf_file;
use serde_json::{Value, json};

use super::Tokenize;
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    config::{self, Node},
    data::{
        self, EXAMPLES_FILE, Example, Split, TOKENS_FILE, TOKENS_INFO_FILE, TokensInfo, frame,
        prompt::INSTRUCTION,
        tokenizer::{PretrainedTokenizer, test_tokenizer::metadata},
    },
    engine::{Artifact, Context, Job, ResolveContext, StageKind, Unwatched},
};

const CHATML: &str = "{% for m in messages %}{{ '<|start|>' + m.role + '\n' + m.content + '<|eot|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}";

struct Workplace {
    dir: tempfile::TempDir,
    job: Job,
}

fn artifact(dir: &Path, names: &[&str]) -> Artifact {
    let files = names.iter().map(|n| ((*n).to_owned(), dir.join(n))).collect();
    Artifact { digest: Digest::of(b"test"), files }
}

/// A task of `labels` with as many examples as there are `label_ids`, and a model with a byte-level tokenizer.
fn workplace(labels: &[&str], label_ids: &[u32], params: Value) -> Workplace {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    fs::write(at("summary.json"), json!({ "labels": labels, "rows": 3 }).to_string()).unwrap();
    let example = |(i, label_id): (usize, &u32)| Example {
        id: format!("e{i}"),
        text: format!("the <|eot|> 好 {i}"),
        label: String::new(),
        label_id: *label_id,
        split: if i % 3 == 0 { Split::Test } else { Split::Train },
        value: None,
        dialogue: None,
        speaker: None,
    };
    let examples: Vec<Example> = label_ids.iter().enumerate().map(example).collect();
    data::write_examples(&at(EXAMPLES_FILE), &examples).unwrap();
    let meta = metadata("smollm", CHATML);
    let mut meta: Vec<_> = meta.iter().map(|(k, v)| (k.as_str(), v)).collect();
    meta.sort_by_key(|(k, _)| *k);
    gguf_file::write(&mut fs::File::create(at("m.gguf")).unwrap(), &meta, &[]).unwrap();
    let inputs = BTreeMap::from([
        ("examples".to_owned(), vec![artifact(dir.path(), &["examples.parquet", "summary.json"])]),
        ("model".to_owned(), vec![artifact(dir.path(), &["m.gguf"])]),
    ]);
    let job = Job {
        kind: "tokenize".to_owned(),
        action: "tokenize[test]".to_owned(),
        params,
        unkeyed: Value::Null,
        private: Value::Null,
        inputs,
        threads: 1,
        memory: 0,
        notes: Vec::new(),
    };
    Workplace { dir, job }
}

impl Workplace {
    fn run(&self) -> Result<PathBuf> {
        let out = self.dir.path().join(format!("out{}", self.job.threads));
        fs::create_dir(&out).unwrap();
        let cx = Context { job: &self.job, out: &out, work: self.dir.path(), progress: &Unwatched };
        Tokenize.run(&cx).map(|()| out)
    }

    fn error(&self) -> Error {
        self.run().unwrap_err()
    }
}

fn info(out: &Path) -> TokensInfo {
    serde_json::from_slice(&fs::read(out.join(TOKENS_INFO_FILE)).unwrap()).unwrap()
}

fn params(max_tokens: Option<usize>) -> Value {
    json!({ "instruction": INSTRUCTION, "words": { "bad": "Awful" }, "chat_template": null, "max_tokens": max_tokens })
}

#[test]
fn writes_ids_and_what_they_have_in_common() {
    let w = workplace(&["good", "bad"], &[0, 1, 1], params(None));
    let out = w.run().unwrap();
    let info = info(&out);
    let table = frame::read_parquet(&out.join(TOKENS_FILE)).unwrap();
    assert_eq!(frame::strings(&table, "id").unwrap(), ["e0", "e1", "e2"]);
    assert_eq!(frame::strings(&table, "split").unwrap(), ["test", "train", "train"]);
    assert_eq!(frame::u32s(&table, "label_id").unwrap(), [0, 1, 1]);
    assert_eq!(info.instruction, "Classify the sentiment of the sentence to Good or Awful: {sentence}");
    assert_eq!(
        info.example,
        "<|start|>user\nClassify the sentiment of the sentence to Good or Awful: the <|eot|> 好 1<|eot|>\n<|start|>assistant\n"
    );
    assert_eq!((info.end_id, info.truncated, info.max_tokens), (2, 0, Some(512 - 5 - 1)));
    let model = PretrainedTokenizer::load(&w.job.inputs["model"][0].files, None).unwrap();
    assert_eq!(info.labels[1].label, "bad");
    assert_eq!(model.tokenizer.decode(&info.labels[1].ids).unwrap(), "Awful");
    let ids = frame::u32_lists(&table, "input_ids").unwrap();
    assert_eq!(model.tokenizer.decode(&ids[1]).unwrap(), info.example);
    assert_eq!(ids[1].iter().filter(|id| **id == info.end_id).count(), 1);
    assert_eq!(info.prompt_tokens.total, ids.iter().map(|p| p.len() as u64).sum::<u64>());
}

#[test]
fn threads_change_no_byte() {
    let ids: Vec<u32> = (0..3000).map(|i| i % 2).collect();
    let mut w = workplace(&["good", "bad"], &ids, params(Some(96)));
    let one = w.run().unwrap();
    w.job.threads = 4;
    let four = w.run().unwrap();
    for name in [TOKENS_FILE, TOKENS_INFO_FILE] {
        assert!(fs::read(one.join(name)).unwrap() == fs::read(four.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn long_sentences_are_shortened_and_counted() {
    let whole = workplace(&["good", "bad"], &[0, 1], params(None));
    let limit = info(&whole.run().unwrap()).prompt_tokens.max - 5;
    let w = workplace(&["good", "bad"], &[0, 1], params(Some(limit)));
    let out = w.run().unwrap();
    let info = info(&out);
    assert_eq!(info.truncated, 2);
    assert_eq!(info.truncated_by_split, BTreeMap::from([("test".to_owned(), 1), ("train".to_owned(), 1)]));
    assert!(info.prompt_tokens.max <= limit);
    let table = frame::read_parquet(&out.join(TOKENS_FILE)).unwrap();
    assert!(table.column("truncated").unwrap().bool().unwrap().all());
}

#[test]
fn bad_input() {
    let two = ["good", "bad"];
    let e = workplace(&["good", "ugly"], &[0], params(None)).error();
    assert!(e.message.contains("`bad`, which the task doesn't have"), "{e}");
    let e = workplace(&two, &[0, 2], params(None)).error();
    assert!(e.message.contains("example `e1` has label 2"), "{e}");
    let e = workplace(&two, &[], params(None)).error();
    assert!(e.message.contains("no examples"), "{e}");
    let e = workplace(&two, &[0], params(Some(8))).error();
    assert!(e.message.contains("no room for a sentence"), "{e}");
    let e = workplace(&two, &[0], params(Some(4000))).error();
    assert!(e.message.contains("context of 512 tokens"), "{e}");
    let mut w = workplace(&two, &[0], params(None));
    w.job.inputs.insert("model".to_owned(), vec![artifact(w.dir.path(), &["summary.json"])]);
    assert!(w.error().message.contains("no tokenizer file"));
}

#[test]
fn what_decides_the_ids_is_in_the_parameters() {
    use crate::config::{ActionSpec, Pipeline, Span, Spec, Value as V};
    fn node(value: V) -> Node {
        Node { span: Span::default(), value }
    }
    fn table(entries: &[(&str, V)]) -> Node {
        let key = config::Key { span: Span::default() };
        node(V::Table(entries.iter().map(|(k, v)| ((*k).to_owned(), (key, node(v.clone())))).collect()))
    }
    let text = |t: &str| V::Str(t.to_owned());
    let resolve = |instruction: &str, words: &[(&str, V)], template: &str, stage: &[(&str, V)]| {
        let task = table(&[
            ("title", text("X")),
            ("dataset", text("d")),
            ("scheme", text("s")),
            ("instruction", text(instruction)),
            ("words", table(words).value),
        ]);
        let source = table(&[("m.gguf", text("file:m.gguf"))]).value;
        let model = table(&[("family", text("llama")), ("source", source), ("chat_template", text(template))]);
        let one = |node: Node| [("x".to_owned(), node)].into_iter().collect();
        let pipeline = Pipeline { name: "p".into(), description: None, root: "/".into(), seeds: vec![], goals: vec![] };
        let definitions = [("task".to_owned(), one(task)), ("model".to_owned(), one(model))].into_iter().collect();
        let spec = Spec { pipeline, profile: None, definitions, stages: vec![], tracked_fs: Default::default() };
        let names = [("task", text("x")), ("model", text("x"))];
        let params = table(&names.iter().chain(stage).cloned().collect::<Vec<_>>());
        let action = ActionSpec { axes: vec![], params, inputs: vec![], resources: None, export: None };
        Tokenize.resolve(&ResolveContext { spec: &spec, action: &action }).map(|r| r.params)
    };
    let base = resolve(INSTRUCTION, &[], "t", &[]).unwrap();
    assert_eq!(base, resolve(INSTRUCTION, &[], "t", &[]).unwrap());
    for other in [
        resolve("{sentence}", &[], "t", &[]),
        resolve(INSTRUCTION, &[("a", text("A"))], "t", &[]),
        resolve(INSTRUCTION, &[], "u", &[]),
        resolve(INSTRUCTION, &[], "t", &[("max_tokens", V::Int(9))]),
    ] {
        assert_ne!(base, other.unwrap());
    }
    let e = resolve("no place", &[], "t", &[]).unwrap_err();
    assert!(e[0].message.contains("no place for the sentence"), "{e:?}");
}
