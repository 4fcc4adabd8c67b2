//! Our token ids against those of the reference tokenizer.
//!
//! `EMOPIPE_TOKENIZER_CASES` names a file of cases (default: ChatGLM2's in `tests/fixtures`). The published `tokenizer.model`
//! is the one that `EMOPIPE_TOKENIZER_MODEL` names, lies beside the cases, or is in the mirror: `EMOPIPE_MIRROR`, or a
//! folder `mirror` beside the folder of fixtures. Run with `--nocapture` to see the counts.

mod common;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use emopipe::data::{
    chat::Chat,
    tokenizer::{Convention, Files, PretrainedTokenizer},
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

fn load(path: PathBuf) -> PretrainedTokenizer {
    let files = Files::from([("tokenizer.model".to_owned(), path)]);
    PretrainedTokenizer::load(&files, Convention::of("chatglm").as_ref()).unwrap()
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

/// Where `python/token_ids.py` has written its cases.
fn check_cases(folder: &Path) {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "json"));
    names.sort();
    assert!(!names.is_empty(), "no cases in {}", folder.display());
    let mut wrong = Vec::new();
    for path in names {
        let kind: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let variants = kind["variants"].as_array().unwrap();
        for variant in variants {
            let place = format!("{}, {}", path.file_stem().unwrap().to_string_lossy(), variant["name"]);
            let dir = tempfile::tempdir().unwrap();
            let files = variant_files(dir.path(), &path, &kind, variant);
            match PretrainedTokenizer::load(&files, None) {
                Ok(model) => {
                    wrong.extend(check_variant(&model, variant).into_iter().map(|what| format!("{place}: {what}")))
                }
                Err(e) => wrong.push(format!("{place}: {e}")),
            }
        }
        println!("{}: {} variants", path.file_stem().unwrap().to_string_lossy(), variants.len());
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

/// Writes a variant's files.
fn variant_files(dir: &Path, path: &Path, kind: &Value, variant: &Value) -> Files {
    let mut files = Files::new();
    let mut add = |name: &str, content: &[u8]| {
        std::fs::write(dir.join(name), content).unwrap();
        files.insert(name.to_owned(), dir.join(name));
    };
    if let Some(vocab) = kind["vocab"].as_str() {
        add("vocab.txt", vocab.as_bytes());
    }
    if kind["tokenizer"].is_object() {
        let mut tokenizer = kind["tokenizer"].clone();
        for (key, value) in variant["set"].as_object().unwrap() {
            tokenizer[key] = value.clone();
        }
        add("tokenizer.json", tokenizer.to_string().as_bytes());
    }
    if let Ok(model) = std::fs::read(path.with_extension("model")) {
        add("tokenizer.model", &model);
    }
    for (name, content) in variant["files"].as_object().unwrap() {
        add(name, content.to_string().as_bytes());
    }
    files
}

/// What differs from the reference, and which messages became control tokens.
fn check_variant(model: &PretrainedTokenizer, variant: &Value) -> Vec<String> {
    let chat = match Chat::new(model, None, None) {
        Ok(chat) => chat,
        Err(e) => return vec![e.to_string()],
    };
    let mut wrong = Vec::new();
    for case in variant["cases"].as_array().unwrap() {
        let text = case[0].as_str().unwrap();
        match chat.prompt(text) {
            Ok(found) if found == ids(&case[1]) => (),
            Ok(found) => wrong.push(format!("{text:?}: {found:?} instead of {}", case[1])),
            Err(e) => wrong.push(format!("{text:?}: {e}")),
        }
    }
    for (words, expected) in variant["answers"].as_object().unwrap() {
        let found = chat.answer(words).map(|mut ids| {
            ids.push(chat.end());
            ids
        });
        match found {
            // Where the prompt isn't the beginning of the whole conversation, the reference has no answer.
            Ok(found) if expected.is_null() || found == ids(expected) => (),
            Ok(found) => wrong.push(format!("answer {words:?}: {found:?} instead of {expected}")),
            Err(e) => wrong.push(format!("answer {words:?}: {e}")),
        }
    }
    wrong.extend(injected(model, &chat));
    wrong
}

/// Messages with markers in them, some of them whole only together with the template's text.
fn injected(model: &PretrainedTokenizer, chat: &Chat<'_>) -> Vec<String> {
    // There the message decides whether the template's own marker stands alone.
    if model.tokenizer.added().iter().any(|(_, token)| token.single_word) {
        return Vec::new();
    }
    let control = |message: &str| {
        let ids = chat.prompt(message).unwrap_or_default();
        let unknown = model.named.get("unk_token").and_then(|name| model.tokenizer.added().id(name));
        let control = model.tokenizer.added().control();
        ids.into_iter().filter(|id| control.contains(id) && Some(*id) != unknown).collect::<Vec<_>>()
    };
    let names: Vec<&str> = model
        .tokenizer
        .added()
        .iter()
        .map(|(_, token)| token.content.as_str())
        .filter(|n| n.contains(['<', '[']))
        .collect();
    let plain = control("film");
    let mut messages = vec![names.concat(), format!(" {} ", names.join(" ")), "|>".to_owned(), "<|end".to_owned()];
    messages.extend(names.iter().map(|name| format!("a{name}b")));
    messages.extend(names.iter().flat_map(|name| [name[1..].to_owned(), name[..name.len() - 1].to_owned()]));
    messages.retain(|message| control(message) != plain);
    messages.into_iter().map(|message| format!("{message:?} writes control tokens")).collect()
}

/// Tokenizers of each kind, with and without each flag; texts in many scripts. `EMOPIPE_TOKEN_CASES` names other cases.
#[test]
fn conversations_have_the_reference_s_ids() {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/token-ids");
    check_cases(&env::var_os("EMOPIPE_TOKEN_CASES").map_or_else(ours, PathBuf::from));
}

/// The same with new texts, where Python is there.
#[test]
fn conversations_have_the_ids_of_python() {
    let python = env::var("EMOPIPE_PYTHON").unwrap_or_else(|_| "python3".into());
    let ran = Command::new(&python).args(["-c", "import transformers, sentencepiece, google.protobuf"]).output();
    if !ran.is_ok_and(|ran| ran.status.success()) {
        eprintln!(
            "SKIPPED conversations_have_the_ids_of_python: set EMOPIPE_PYTHON to a Python with tokenizers, transformers, \
             sentencepiece and protobuf"
        );
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let seed = env::var("EMOPIPE_SEED").unwrap_or_else(|_| "1".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/token_ids.py");
    let ran = Command::new(&python).arg(script).arg(out.path()).args([&seed, "100"]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    check_cases(out.path());
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
