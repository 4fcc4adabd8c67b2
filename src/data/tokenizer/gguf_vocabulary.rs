//! The tokenizer inside a GGUF file: byte-level BPE (`tokenizer.ggml.model = gpt2`).
//!
//! The keys are those of the GGUF specification.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use tokenizers::{
    AddedToken,
    models::bpe::{BPE, Merges, Vocab},
};

use super::{
    gguf_metadata::Metadata,
    gguf_pre_tokenizer::PreTokenization,
    library_tokenizer::{LibraryTokenizer, library},
    pretrained_tokenizer::PretrainedTokenizer,
    tokenizer_files::Files,
    tokenizer_format::{Origin, TokenizerFormat},
};
use crate::base::{
    error::{At, Error, Result},
    gguf_header::{Header, Value},
};

/// `tokenizer.ggml.token_type`
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const KINDS: std::ops::RangeInclusive<i64> = 1..=6;

/// A chat template's name for a token, and the key of its id.
const NAMED: [(&str, &str); 4] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
];

/// Files that say something about another tokenizer than the one inside.
const NOT_READ: [&str; 4] =
    ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"];

/// The format of a vocabulary inside a GGUF file.
pub struct GgufVocabulary;

impl TokenizerFormat for GgufVocabulary {
    fn file_name(&self) -> &'static str {
        "*.gguf"
    }

    fn find<'a>(&self, files: &'a Files) -> Result<Option<&'a Path>> {
        let mut found = files.iter().filter(|(name, _)| name.ends_with(".gguf"));
        match (found.next(), found.next()) {
            (Some((a, _)), Some((b, _))) => Err(Error::input(format!("the model has several GGUF files: {a}, {b}"))
                .help("keep the one that is to be used; split GGUF files aren't supported")),
            (one, _) => Ok(one.map(|(_, path)| path.as_path())),
        }
    }

    fn load(&self, path: &Path, origin: &Origin<'_>) -> Result<PretrainedTokenizer> {
        if let Some(name) = NOT_READ.iter().find(|name| origin.files.contains_key(**name)) {
            return Err(Error::input(format!(
                "`{name}` isn't read beside a GGUF file, which brings its own tokenizer"
            ))
            .help("remove it from the model's files, or add the model's `tokenizer.json` to have that one used"));
        }
        let name = origin.files.keys().find(|name| name.ends_with(".gguf")).map_or("*.gguf", String::as_str);
        let header = Header::read(path).at(name)?;
        text_model(&header.metadata).at("GGUF metadata")
    }
}

/// The tokenizer that the metadata of a GGUF file describe.
///
/// # Errors
/// A kind of tokenizer or a key that isn't known, a key that is missing, or tokens, types and merges that don't fit
/// together.
pub(super) fn text_model(metadata: &HashMap<String, Value>) -> Result<PretrainedTokenizer> {
    let meta = Metadata(metadata);
    meta.check()?;
    let model = meta.string("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(Error::input(format!("tokenizer `{model}` isn't supported"))
            .help("`gpt2` (byte-level BPE) is; add the model's `tokenizer.json` to its files to have that one used"));
    }
    let cut = PreTokenization::named(meta.string("tokenizer.ggml.pre")?)?;
    let tokens = meta.strings("tokenizer.ggml.tokens")?;
    let types = meta.integers("tokenizer.ggml.token_type")?;
    if types.len() != tokens.len() {
        return Err(Error::input(format!("{} tokens have {} types", tokens.len(), types.len())));
    }
    if let Some((token, kind)) = tokens.iter().zip(&types).find(|(_, kind)| !KINDS.contains(kind)) {
        return Err(Error::input(format!("the token `{token}` is of unknown type {kind}")));
    }
    let inner = byte_level_bpe(cut, &tokens, &types, &meta.strings("tokenizer.ggml.merges")?)?;
    let mut named = BTreeMap::new();
    for (name, key) in NAMED {
        if let Some(id) = meta.optional_integer(key)? {
            let token = usize::try_from(id).ok().and_then(|id| tokens.get(id)).ok_or_else(|| {
                Error::input(format!("`{key}` is {id}, and the vocabulary has {} tokens", tokens.len()))
            })?;
            named.insert(name.to_owned(), (*token).to_owned());
        }
    }
    let context = match meta.get("general.architecture") {
        Some(Value::String(family)) => meta.optional_integer(&format!("{family}.context_length"))?,
        _ => None,
    };
    Ok(PretrainedTokenizer {
        kind: format!("gguf gpt2/{}", cut.name),
        tokenizer: Box::new(LibraryTokenizer::new(inner)),
        named,
        chat_template: meta
            .get("tokenizer.chat_template")
            .map(|_| meta.string("tokenizer.chat_template"))
            .transpose()?
            .map(str::to_owned),
        context: context.and_then(|n| usize::try_from(n).ok()),
        separate_answers: false,
    })
}

fn byte_level_bpe(
    cut: &PreTokenization,
    tokens: &[&str],
    types: &[i64],
    merges: &[&str],
) -> Result<tokenizers::Tokenizer> {
    let vocab: Vocab = tokens.iter().zip(0..).map(|(token, id)| ((*token).to_owned(), id)).collect();
    let merges: Merges = merges.iter().zip(1..).map(|(m, n)| merge(m, n, &vocab)).collect::<Result<_>>()?;
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(cut.whole_words).build().map_err(library)?;
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    cut.set_up(&mut tokenizer)?;
    let added = tokens.iter().zip(types).filter(|(_, kind)| [CONTROL, USER_DEFINED].contains(kind));
    tokenizer
        .add_tokens(added.map(|(token, kind)| AddedToken::from(*token, *kind == CONTROL).normalized(false)))
        .map_err(library)?;
    Ok(tokenizer)
}

/// `left right`, whose concatenation must be a token as well.
fn merge(text: &str, number: usize, vocab: &Vocab) -> Result<(String, String)> {
    text.split_once(' ')
        .filter(|(l, r)| vocab.contains_key(*l) && vocab.contains_key(*r) && vocab.contains_key(&format!("{l}{r}")))
        .map(|(l, r)| (l.to_owned(), r.to_owned()))
        .ok_or_else(|| Error::input(format!("merge {number} (`{text}`) doesn't join two tokens to a third")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::tokenizer::test_tokenizer::{metadata, model, texts};

    /// Tokens as the vocabulary writes them.
    fn pieces(pre: &str, text: &str) -> Vec<String> {
        let m = model(pre, "");
        let meta = metadata(pre, "");
        let tokens = Metadata(&meta).strings("tokenizer.ggml.tokens").unwrap();
        m.tokenizer.encode_words(text).unwrap().iter().map(|id| tokens[*id as usize].to_owned()).collect()
    }

    #[test]
    fn reads_what_the_file_says() {
        let m = model("smollm", "T");
        assert_eq!(m.kind, "gguf gpt2/smollm");
        assert_eq!(m.eos(), Some(0));
        assert_eq!(m.named["bos_token"], "<|start|>");
        assert_eq!((m.chat_template.as_deref(), m.context), (Some("T"), Some(512)));
        assert_eq!(m.tokenizer.vocab_size(), 4 + 256 + 6);
    }

    #[test]
    fn each_rule_cuts_as_published() {
        assert_eq!(pieces("gpt-2", "the the 00"), ["the", "Ġthe", "Ġ", "00"]);
        assert_eq!(pieces("smollm", "the the 00"), ["the", "Ġthe", "Ġ", "0", "0"]);
        assert_eq!(pieces("qwen2", "the 00\n\n"), ["the", "Ġ", "0", "0", "ĊĊ"]);
        assert_eq!(pieces("llama-bpe", "the 00\n\n"), ["the", "Ġ", "00", "ĊĊ"]);
        // Composed by qwen2 alone.
        assert_eq!(pieces("qwen2", "e\u{301}"), pieces("gpt-2", "\u{e9}"));
        assert_ne!(pieces("smollm", "e\u{301}"), pieces("smollm", "\u{e9}"));
    }

    #[test]
    fn control_tokens_in_text_stay_text() {
        for pre in ["gpt-2", "smollm", "qwen2", "llama-bpe"] {
            let m = model(pre, "");
            let ids = m.tokenizer.encode_words("a<|eot|><tool>").unwrap();
            assert!(!ids.contains(&2) && !ids.contains(&3), "{ids:?}");
            assert_eq!(m.tokenizer.decode(&ids).unwrap(), "a<|eot|><tool>");
        }
    }

    #[test]
    fn unusable_metadata() {
        let error = |key: &str, value: Option<Value>| {
            let mut meta = metadata("smollm", "");
            match value {
                Some(v) => meta.insert(key.to_owned(), v),
                None => meta.remove(key),
            };
            text_model(&meta).unwrap_err().message
        };
        assert_eq!(
            error("tokenizer.ggml.model", Some(Value::String("bert".into()))),
            "tokenizer `bert` isn't supported"
        );
        assert!(error("tokenizer.ggml.pre", Some(Value::String("tekken".into()))).contains("known: gpt-2, smollm"));
        assert!(error("tokenizer.ggml.pre", None).contains("`tokenizer.ggml.pre` is missing"));
        assert!(error("tokenizer.ggml.merges", Some(texts(&["t h", "t e"]))).contains("merge 2 (`t e`)"));
        assert!(error("tokenizer.ggml.token_type", Some(Value::Array(vec![]))).contains("266 tokens have 0 types"));
        assert!(error("tokenizer.ggml.eos_token_id", Some(Value::U32(9999))).contains("is 9999"));
        assert!(error("tokenizer.ggml.tokens", Some(Value::U8(1))).contains("isn't a list"));
        let mut odd: Vec<Value> = vec![Value::I32(1); 266];
        odd[5] = Value::I32(9);
        assert!(error("tokenizer.ggml.token_type", Some(Value::Array(odd))).contains("unknown type 9"));
        assert!(error("tokenizer.ggml.future", Some(Value::U8(1))).contains("`tokenizer.ggml.future`"));
        assert!(error("tokenizer.ggml.add_space_prefix", Some(Value::Bool(true))).contains("add_space_prefix"));
        let mut meta = metadata("smollm", "");
        for key in ["tokenizer.ggml.eot_token_id", "tokenizer.chat_template.tool_use", "tokenizer.ggml.add_bos_token"] {
            meta.insert(key.to_owned(), Value::Bool(false));
        }
        meta.insert("tokenizer.ggml.add_space_prefix".to_owned(), Value::Bool(false));
        assert!(text_model(&meta).is_ok());
    }

    #[test]
    fn damaged_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, b"GGUF\x03\0\0\0\x01").unwrap();
        let files = Files::from([("m.gguf".to_owned(), path.clone())]);
        let e = PretrainedTokenizer::load(&files, None).unwrap_err();
        assert!(e.message.contains("not a readable GGUF file"), "{e}");
        let two = Files::from([("a.gguf".to_owned(), path.clone()), ("b.gguf".to_owned(), path)]);
        assert!(PretrainedTokenizer::load(&two, None).unwrap_err().message.contains("a.gguf, b.gguf"));
        let config = ("tokenizer_config.json".to_owned(), dir.path().join("c"));
        let beside = Files::from([("m.gguf".to_owned(), dir.path().join("m.gguf")), config]);
        assert!(
            PretrainedTokenizer::load(&beside, None)
                .unwrap_err()
                .message
                .contains("`tokenizer_config.json` isn't read")
        );
    }

    static MODELS: std::sync::LazyLock<[PretrainedTokenizer; 3]> =
        std::sync::LazyLock::new(|| ["gpt-2", "smollm", "llama-bpe"].map(|pre| model(pre, "")));

    proptest! {
        #[test]
        fn bytes_come_back(text in any::<String>()) {
            for m in &*MODELS {
                let ids = m.tokenizer.encode_words(&text).unwrap();
                prop_assert_eq!(m.tokenizer.decode(&ids).unwrap(), text.as_str());
            }
        }
    }

    /// Ids that Python's `tokenizers` gives with the vocabulary and merges of SmolLM2-135M-Instruct.
    #[test]
    fn smollm2_ids() {
        let Some(path) = std::env::var_os("EMOPIPE_TEST_GGUF") else {
            eprintln!("SKIPPED smollm2_ids: set EMOPIPE_TEST_GGUF to SmolLM2-135M-Instruct.Q4_1.gguf");
            return;
        };
        let files = Files::from([("m.gguf".to_owned(), path.into())]);
        let m = PretrainedTokenizer::load(&files, None).unwrap();
        assert_eq!((m.context, m.eos(), m.tokenizer.vocab_size()), (Some(8192), Some(2), 49152));
        let cases: &[(&str, &[u32])] = &[
            ("Hello world", &[19556, 905]),
            (
                "I can't say they've won; he'd've said \"it's\" WASN'T.",
                &[
                    57, 416, 982, 1643, 502, 3543, 3763, 43, 384, 6737, 3543, 1137, 476, 269, 506, 18, 408, 2211, 62,
                    23, 68, 30,
                ],
            ),
            (
                "In 2024, 1234567.89 people (3rd) ½",
                &[
                    788, 216, 34, 32, 34, 36, 28, 216, 33, 34, 35, 36, 37, 38, 39, 30, 40, 41, 701, 365, 35, 7212, 25,
                    216, 16738,
                ],
            ),
            (
                "great movie 😀👍🏽!! 👨\u{200d}👩\u{200d}👧",
                &[
                    18680, 7704, 40303, 218, 10813, 235, 231, 10813, 233, 138, 10095, 15107, 235, 118, 321, 231, 10813,
                    235, 119, 321, 231, 10813, 235, 117,
                ],
            ),
            ("我今天很开心！", &[19805, 235, 15076, 228, 18614, 119, 29157, 226, 26602, 218, 41467, 221, 8083, 219]),
            (
                "  two  spaces and\ttab\n\nnewlines \r\n end  ",
                &[216, 827, 216, 5600, 284, 197, 15999, 198, 198, 2241, 5110, 216, 2738, 1112, 256],
            ),
            (
                "<|im_end|> is <|im_start|>user",
                &[44, 108, 306, 79, 486, 108, 46, 314, 2067, 108, 306, 79, 3738, 108, 46, 4093],
            ),
            ("naïve café — “quotes”…", &[3546, 46494, 37366, 1841, 619, 385, 2346, 573, 2829]),
            ("", &[]),
            ("a\u{a0}b\u{3000}c", &[81, 15442, 82, 12109, 218, 83]),
            (" leading", &[2899]),
        ];
        for (text, ids) in cases {
            assert_eq!(m.tokenizer.encode_words(text).unwrap(), *ids, "{text}");
            assert_eq!(m.tokenizer.decode(ids).unwrap(), *text);
        }
    }
}
