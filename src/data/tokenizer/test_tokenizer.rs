//! A small tokenizer for tests.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::{gguf_vocabulary, pretrained_tokenizer::PretrainedTokenizer};

pub fn texts(values: &[&str]) -> Value {
    Value::Array(values.iter().map(|v| Value::String((*v).to_owned())).collect())
}

/// A byte-level vocabulary with a few merges: control tokens 0 to 2, a user-defined word 3, then the 256 bytes.
pub fn metadata(pre: &str, template: &str) -> HashMap<String, Value> {
    let mut bytes: Vec<String> = ByteLevel::alphabet().iter().map(char::to_string).collect();
    bytes.sort();
    let mut tokens = vec!["<|end|>", "<|start|>", "<|eot|>", "<tool>"];
    tokens.extend(bytes.iter().map(String::as_str));
    tokens.extend(["th", "the", "Ġt", "Ġthe", "00", "ĊĊ"]);
    let mut types = vec![1i32; tokens.len()];
    types[..4].copy_from_slice(&[3, 3, 3, 4]);
    HashMap::from([
        ("general.architecture".into(), Value::String("llama".into())),
        ("llama.context_length".into(), Value::U32(512)),
        ("tokenizer.ggml.model".into(), Value::String("gpt2".into())),
        ("tokenizer.ggml.pre".into(), Value::String(pre.into())),
        ("tokenizer.ggml.tokens".into(), texts(&tokens)),
        ("tokenizer.ggml.token_type".into(), Value::Array(types.into_iter().map(Value::I32).collect())),
        ("tokenizer.ggml.merges".into(), texts(&["t h", "th e", "Ġ t", "Ġ the", "0 0", "Ċ Ċ"])),
        ("tokenizer.ggml.bos_token_id".into(), Value::U32(1)),
        ("tokenizer.ggml.eos_token_id".into(), Value::U32(0)),
        ("tokenizer.chat_template".into(), Value::String(template.into())),
    ])
}

pub fn model(pre: &str, template: &str) -> PretrainedTokenizer {
    gguf_vocabulary::text_model(&metadata(pre, template)).unwrap()
}
