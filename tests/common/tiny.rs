//! A tiny model with random weights and a handful of sentences: all that a pipeline needs from end to end.

use std::{fmt::Write, fs, path::Path};

use super::Project;

/// Writes the files of the model into the project's folder `model`.
pub fn write_model(project: &Project) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-tiny");
    fs::create_dir(project.path("model")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixture.join(name), project.path("model").join(name)).unwrap();
    }
    project.write("model/tokenizer.json", &tokenizer());
    project.write("model/tokenizer_config.json", TOKENIZER_CONFIG);
}

/// A byte-level tokenizer without merges: a token a byte, and the two tokens of a chat.
fn tokenizer() -> String {
    let mut vocab = serde_json::Map::new();
    let printable = |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || (174..=255).contains(&b);
    let mut moved = 256;
    for byte in 0..256 {
        let point = if printable(byte) {
            byte
        } else {
            moved += 1;
            moved - 1
        };
        vocab.insert(char::from_u32(point).unwrap().to_string(), byte.into());
    }
    let special = |id: u32, content: &str| serde_json::json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    serde_json::json!({
        "version": "1.0",
        "added_tokens": [special(256, "<|im_start|>"), special(257, "<|im_end|>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
    .to_string()
}

const TOKENIZER_CONFIG: &str = r#"{
  "eos_token": "<|im_end|>",
  "chat_template": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
}"#;

/// The card of what [`films`] writes into `films.tsv`.
pub const CARD: &str = r#"
[dataset.films]
title = "Films"
language = "English"
construct = "sentiment"
license = "CC0-1.0"
read = { format = "delimited", delimiter = "\t", quoted = false, columns = ["id", "rating", "text"] }
fields = { id = ["id"], text = "text", value = "rating" }
normalize = ["collapse-whitespace", "trim"]
split = { train = 0.6, dev = 0.1, test = 0.3 }
source."films.tsv" = { url = "file:films.tsv" }
[dataset.films.schemes.2]
labels = ["negative", "positive"]
bins = { negative = "[-4, 0)", positive = "(0, 4]" }
"#;

pub fn films() -> String {
    let mut out = String::new();
    for i in 0..40 {
        let _ = writeln!(out, "{}\t{}\ta good film, number {i}", 2 * i, 1.5);
        let _ = writeln!(out, "{}\t{}\ta dull film, number {i}", 2 * i + 1, -1.5);
    }
    out + "80\t1.5\ta  good film, number 7\n"
}
