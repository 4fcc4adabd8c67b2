//! Our token ids against those of the reference tokenizer.
//!
//! `EMOPIPE_TOKENIZER_CASES` names a file of cases (default: ChatGLM2's in `tests/fixtures`). The published `tokenizer.model`
//! is the one that `EMOPIPE_TOKENIZER_MODEL` names, lies beside the cases, or is in the mirror: `EMOPIPE_MIRROR`, or a
//! folder `mirror` beside the folder of fixtures. Run with `--nocapture` to see the counts.

mod common;

use std::{
    env,
    path::{Path, PathBuf},
};

use emopipe::data::{
    chat::Chat,
    tokenizer::{Convention, Files, TextModel},
};
use serde_json::Value;

/// Where the files of `pipelines/paper.toml` lie in a mirror: the tokenizer's URLs without their scheme.
fn places_in_mirror() -> Vec<PathBuf> {
    let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/paper.toml");
    let pipeline: toml::Table = std::fs::read_to_string(pipeline).unwrap().parse().unwrap();
    let source = &pipeline["model"]["chatglm2-6b"]["source"]["tokenizer.model"];
    let urls = source["mirrors"].as_array().unwrap().iter().filter_map(|url| url.as_str()?.strip_prefix("https://"));
    urls.map(PathBuf::from).collect()
}

fn published_model(cases: &Path) -> Result<PathBuf, String> {
    let mut places: Vec<_> = env::var_os("EMOPIPE_TOKENIZER_MODEL").map(PathBuf::from).into_iter().collect();
    places.push(cases.with_file_name("tokenizer.model"));
    let beside = cases.ancestors().nth(3).map(|folder| folder.join("mirror"));
    for mirror in env::var_os("EMOPIPE_MIRROR").map(PathBuf::from).into_iter().chain(beside) {
        places.extend(places_in_mirror().iter().map(|place| mirror.join(place)));
    }
    places.iter().find(|place| place.exists()).cloned().ok_or_else(|| {
        let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        format!(
            "set EMOPIPE_TOKENIZER_MODEL to ChatGLM2's published tokenizer.model, or EMOPIPE_MIRROR to a mirror that has it \
             (`make parity MIRROR=DIR`); it isn't at {}",
            places.join(", ")
        )
    })
}

fn load(path: PathBuf) -> TextModel {
    let files = Files::from([("tokenizer.model".to_owned(), path)]);
    TextModel::load(&files, Convention::of("chatglm").as_ref()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn agrees_with_the_reference_tokenizer() {
    let cases = env::var_os("EMOPIPE_TOKENIZER_CASES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chatglm2-tokenizer/expected.json"),
        PathBuf::from,
    );
    let path = match published_model(&cases) {
        Ok(path) => path,
        Err(what) => {
            eprintln!("SKIPPED agrees_with_the_reference_tokenizer: {what}");
            return;
        }
    };
    let expected: Value = serde_json::from_slice(&std::fs::read(&cases).unwrap()).unwrap();
    let model = load(path);
    let chat = Chat::new(&model, None, None).unwrap();
    for (name, id) in expected["special"].as_object().unwrap() {
        assert_eq!(model.tokenizer.added().id(name).map(u64::from), id.as_u64(), "{name}");
    }
    let pieces = expected["vocab_size"].as_u64().unwrap() as usize;
    assert_eq!(model.tokenizer.vocab_size(), pieces + expected["special"].as_object().unwrap().len());
    assert_eq!(u64::from(chat.end()), expected["eos"].as_u64().unwrap());
    let cases = expected["cases"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let (plain, prompt) = (model.tokenizer.encode_words(text).unwrap(), chat.prompt(text).unwrap());
        if plain != ids(&case["ids"]) || prompt != ids(&case["prompt_ids"]) {
            wrong.push(text);
        }
        // Pieces write a space as this character, so that one in a text is not to be told from a space.
        if !text.contains('\u{2581}') {
            assert_eq!(model.tokenizer.decode(&plain).unwrap(), text, "decoded");
            assert_eq!(model.tokenizer.decode(&prompt).unwrap(), chat.text(text).unwrap(), "decoded prompt");
        }
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
    assert_eq!(model.tokenizer.encode_words("positive").unwrap().len(), 1);
    assert_eq!(model.tokenizer.encode_words("very negative 积极").unwrap().len(), 3);
    let odd = "Ünknown 😀  text\n";
    assert_eq!(model.tokenizer.decode(&model.tokenizer.encode_words(odd).unwrap()).unwrap(), odd);
}
