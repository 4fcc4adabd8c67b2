//! Our token ids against those of the reference tokenizer.
//!
//! `EMOPIPE_TOKENIZER_CASES` names a file of cases (default: ChatGLM2's in `tests/fixtures`), `EMOPIPE_TOKENIZER_MODEL` the
//! published `tokenizer.model` (default: beside the cases). Run with `--nocapture` to see the counts.

mod common;

use std::path::{Path, PathBuf};

use emopipe::data::{
    chat::Chat,
    tokenizer::{Convention, Files, TextModel},
};
use serde_json::Value;

const SKIPPED: &str = "SKIPPED agrees_with_the_reference_tokenizer: set EMOPIPE_TOKENIZER_MODEL to ChatGLM2's \
                       published tokenizer.model";

fn load(path: PathBuf) -> TextModel {
    let files = Files::from([("tokenizer.model".to_owned(), path)]);
    TextModel::load(&files, Convention::of("chatglm").as_ref()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn agrees_with_the_reference_tokenizer() {
    let cases = std::env::var_os("EMOPIPE_TOKENIZER_CASES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chatglm2-tokenizer/expected.json"),
        PathBuf::from,
    );
    let path = std::env::var_os("EMOPIPE_TOKENIZER_MODEL")
        .map_or_else(|| cases.with_file_name("tokenizer.model"), PathBuf::from);
    if !path.exists() {
        eprintln!("{SKIPPED}");
        return;
    }
    let expected: Value = serde_json::from_slice(&std::fs::read(&cases).unwrap()).unwrap();
    let model = load(path);
    let chat = Chat::new(&model, None).unwrap();
    for (name, id) in expected["special"].as_object().unwrap() {
        assert_eq!(model.tokenizer.specials().id(name).map(u64::from), id.as_u64(), "{name}");
    }
    let pieces = expected["vocab_size"].as_u64().unwrap() as usize;
    assert_eq!(model.tokenizer.vocab_size(), pieces + expected["special"].as_object().unwrap().len());
    assert_eq!(u64::from(chat.end()), expected["eos"].as_u64().unwrap());
    let cases = expected["cases"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let (plain, prompt) = (model.tokenizer.encode(text).unwrap(), chat.prompt(text).unwrap());
        if plain != ids(&case["ids"]) || prompt != ids(&case["prompt_ids"]) {
            wrong.push(text);
        }
        assert_eq!(model.tokenizer.decode(&plain).unwrap(), text, "decoded");
        assert_eq!(model.tokenizer.decode(&prompt).unwrap(), chat.text(text).unwrap(), "decoded prompt");
    }
    println!(
        "tokenizer.model: {} of {} texts and prompts have the reference's ids",
        cases.len() - wrong.len(),
        cases.len()
    );
    assert!(wrong.is_empty(), "other ids for {wrong:?}");
}

/// The model that other tests use is read like a published one.
#[test]
fn the_tests_own_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.model");
    let pieces = common::sentencepiece::write_tokenizer(&path, &["positive", "very", "negative", "积极"]);
    let model = load(path);
    assert_eq!(model.tokenizer.vocab_size(), pieces + 5);
    assert_eq!(model.tokenizer.encode("positive").unwrap().len(), 1);
    assert_eq!(model.tokenizer.encode("very negative 积极").unwrap().len(), 3);
    let odd = "Ünknown 😀  text\n";
    assert_eq!(model.tokenizer.decode(&model.tokenizer.encode(odd).unwrap()).unwrap(), odd);
}
