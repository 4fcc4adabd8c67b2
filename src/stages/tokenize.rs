//! `tokenize`: prompts and answers of a task as token ids of a model.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use polars::prelude::{Column, NamedFrom, Series};
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lookup::{both, definition, diagnostic_at};
use super::tables::ModelTable;
use crate::{
    base::error::{At, Error, IoAt, Result},
    config::{self, Diagnostic, Node},
    data::{
        self, EXAMPLES_FILE, Example, LengthStats, Split, TOKENS_FILE, TOKENS_INFO_FILE, Task, TokensInfo, answers,
        chat::Chat,
        frame,
        prompt::{INSTRUCTION, Instruction, SENTENCE, answer_words},
        prompter::{Prompt, Prompter, prompt_limit},
        read_examples,
        tokenizer::{Convention, PretrainedTokenizer},
    },
    engine::{Artifact, Context, ResolveContext, Resolved, Resources, StageKind, Usual},
    models::usual_targets,
};

/// Vocabulary and merges of a large model, the examples and their ids.
const MEMORY: u64 = 512 << 20;

/// Examples between two looks at whether to stop.
const CHUNK: usize = 1024;

/// Writes the prompts of an `examples` input with the tokenizer and chat template of a `model` input.
pub struct Tokenize;

/// Turns examples into prompts and token ids. Inputs: `examples`, `model`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TokenizeStage")]
struct Table {
    /// Name of a `[task.NAME]` table.
    task: String,
    /// Name of a `[model.NAME]` table.
    model: String,
    /// Longest prompt in tokens, without the answer (default: what the model can read). Longer prompts lose the end of
    /// their sentence.
    max_tokens: Option<usize>,
}

/// What decides the ids, next to the inputs.
#[derive(Debug, Serialize, Deserialize)]
struct Params {
    instruction: String,
    /// Label and answer words, where the task chooses them.
    words: BTreeMap<String, String>,
    chat_template: Option<String>,
    /// What a template that asks for today's date gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chat_date: Option<String>,
    max_tokens: Option<usize>,
    /// Tokens that the model can read, where the pipeline file states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<usize>,
    /// What the model's family adds to its tokenizer file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    convention: Option<Convention>,
}

/// What this stage reads of the examples' [`data::Summary`].
#[derive(Deserialize)]
struct Summary {
    labels: Vec<String>,
}

impl StageKind for Tokenize {
    fn name(&self) -> &'static str {
        "tokenize"
    }

    fn version(&self) -> u32 {
        3
    }

    fn check(&self, params: &Node) -> Vec<Diagnostic> {
        config::check::<Table>(params)
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<Table>()
    }

    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>> {
        let table: Table = config::from_node(&cx.action.params)?;
        let (task, model) =
            both(definition::<Task>(cx, "task", &table.task), definition::<ModelTable>(cx, "model", &table.model))?;
        let convention = Convention::of(&model.family);
        let usual = convention.as_ref().and_then(|c| c.instruction.as_deref()).unwrap_or(INSTRUCTION);
        let instruction = task.instruction.unwrap_or_else(|| usual.to_owned());
        let (task_name, model_name) = (&*table.task, &*table.model);
        Instruction::new(&instruction, &[])
            .map_err(|e| vec![diagnostic_at(cx, ["task", task_name, "instruction"], e)])?;
        usual_targets(&model.family).map_err(|e| vec![diagnostic_at(cx, ["model", model_name, "family"], e)])?;
        let dims = model.backbone().dims().map_err(|e| vec![diagnostic_at(cx, ["model", model_name, "config"], e)])?;
        let params = Params {
            instruction,
            words: task.words.into_iter().collect(),
            chat_template: model.chat_template,
            chat_date: model.chat_date,
            max_tokens: table.max_tokens,
            context: dims.map(|d| d.max_positions),
            convention,
        };
        let params = serde_json::to_value(&params).map_err(|e| vec![Diagnostic::new(e)])?;
        Ok(Resolved {
            params,
            resources: Resources { memory: MEMORY, ..Resources::default() },
            work: Some(Arc::new(Usual(2.0))),
            ..Resolved::default()
        })
    }

    fn outputs(&self, _: &serde_json::Value) -> Option<Vec<String>> {
        Some(vec![TOKENS_FILE.to_owned(), TOKENS_INFO_FILE.to_owned()])
    }

    fn run(&self, cx: &Context) -> Result<()> {
        let params: Params = cx.params()?;
        let examples = cx.input("examples")?;
        let labels = labels(examples)?;
        let examples = read(examples.file(EXAMPLES_FILE)?, &labels)?;

        let model = PretrainedTokenizer::load(&cx.input("model")?.files, params.convention.as_ref())?;
        let chat = Chat::new(&model, params.chat_template.as_deref(), params.chat_date.as_deref())?;
        let words = answer_words(&labels, params.words.iter().map(|(l, w)| (l.as_str(), w.as_str())))?;
        let answers = answers(&chat, &labels, &words)?;
        let limit = prompt_limit(params.max_tokens, model.context.or(params.context), &answers)?;
        let instruction = Instruction::new(&params.instruction, &words)?;
        let prompts = prompts(cx, &Prompter::new(&chat, &instruction, limit)?, &examples)?;

        let info = TokensInfo {
            tokenizer: model.kind.clone(),
            vocab_size: model.tokenizer.vocab_size(),
            labels: answers,
            end_id: chat.end(),
            instruction: instruction.prompt(SENTENCE),
            example: chat.text(&instruction.prompt(shown(&examples)))?,
            max_tokens: limit.tokens,
            prompt_tokens: LengthStats::of(prompts.iter().map(|p| p.ids.len()).collect())
                .ok_or_else(|| Error::internal("no prompts"))?,
            truncated: prompts.iter().filter(|p| p.truncated).count(),
            truncated_by_split: truncated_by_split(&examples, &prompts),
        };
        if let (true, Some(limit)) = (info.truncated > 0, limit.tokens) {
            cx.progress.message(&format!(
                "{} of {} sentences shortened to fit {limit} tokens",
                info.truncated,
                prompts.len()
            ));
        }
        write(cx.out, &examples, &prompts, &info)
    }
}

fn labels(examples: &Artifact) -> Result<Vec<String>> {
    let path = examples.file(data::Summary::FILE)?;
    let summary: Summary = serde_json::from_slice(&fs::read(path).io_at("read", path)?)
        .map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    Ok(summary.labels)
}

fn read(path: &Path, labels: &[String]) -> Result<Vec<Example>> {
    let examples = read_examples(path)?;
    if examples.is_empty() {
        return Err(Error::input("there are no examples").help("the task's scheme or limit leaves none of them"));
    }
    match examples.iter().find(|e| e.label_id as usize >= labels.len()) {
        Some(e) => Err(Error::input(format!(
            "example `{}` has label {}, and there are {} labels",
            e.id,
            e.label_id,
            labels.len()
        ))),
        None => Ok(examples),
    }
}

/// The sentence that stands for all in what people read: the first to be trained on, if any.
fn shown(examples: &[Example]) -> &str {
    let trained = examples.iter().find(|e| e.split == Split::Train);
    trained.or(examples.first()).map_or("", |e| e.text.as_str())
}

/// The prompts of all examples, in their order.
fn prompts(cx: &Context, prompter: &Prompter<'_>, examples: &[Example]) -> Result<Vec<Prompt>> {
    let pool: ThreadPool = ThreadPoolBuilder::new()
        .num_threads(cx.job.threads.max(1))
        .build()
        .map_err(|e| Error::environment(format!("can't start threads: {e}")))?;
    let mut prompts = Vec::with_capacity(examples.len());
    for chunk in examples.chunks(CHUNK) {
        cx.checkpoint_reached()?;
        let one = |e: &Example| prompter.prompt(&e.text).at(format!("example `{}`", e.id));
        prompts.extend(pool.install(|| chunk.par_iter().map(one).collect::<Result<Vec<_>>>())?);
        cx.progress.step(prompts.len() as u64, examples.len() as u64, "example", "");
    }
    Ok(prompts)
}

fn truncated_by_split(examples: &[Example], prompts: &[Prompt]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (example, _) in examples.iter().zip(prompts).filter(|(_, p)| p.truncated) {
        *counts.entry(example.split.name().to_owned()).or_default() += 1;
    }
    counts
}

fn write(out: &Path, examples: &[Example], prompts: &[Prompt], info: &TokensInfo) -> Result<()> {
    let column = |of: fn(&Example) -> &str| examples.iter().map(of).collect::<Vec<_>>();
    let labels: Vec<u32> = examples.iter().map(|e| e.label_id).collect();
    let ids: Vec<&[u32]> = prompts.iter().map(|p| p.ids.as_slice()).collect();
    let truncated: Vec<bool> = prompts.iter().map(|p| p.truncated).collect();
    frame::write_parquet(
        &out.join(TOKENS_FILE),
        vec![
            frame::string_column("id", &column(|e| &e.id)),
            frame::string_column("split", &column(|e| e.split.name())),
            frame::u32_column("label_id", &labels),
            frame::u32_list_column("input_ids", &ids),
            Column::from(Series::new("truncated".into(), truncated)),
        ],
    )?;
    let path = out.join(TOKENS_INFO_FILE);
    let mut text = serde_json::to_string_pretty(info)?;
    text.push('\n');
    fs::write(&path, text).io_at("write", &path)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use candle_core::quantized::gguf_file;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        base::digest::Digest,
        data::tokenizer::test_tokenizer::metadata,
        engine::{Job, Unwatched},
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
            let pipeline =
                Pipeline { name: "p".into(), description: None, root: "/".into(), seeds: vec![], goals: vec![] };
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
}
