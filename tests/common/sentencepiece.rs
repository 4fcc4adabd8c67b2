//! Small SentencePiece models in the published file format.

use std::path::Path;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, required, tag = "2")]
    trainer: Trainer,
    #[prost(message, required, tag = "3")]
    normalizer: Normalizer,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, required, tag = "1")]
    text: String,
    #[prost(float, required, tag = "2")]
    score: f32,
    #[prost(int32, required, tag = "3")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    /// 2: BPE.
    #[prost(int32, required, tag = "3")]
    model_type: i32,
    #[prost(bool, required, tag = "35")]
    byte_fallback: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bool, required, tag = "3")]
    add_dummy_prefix: bool,
    #[prost(bool, required, tag = "4")]
    remove_extra_whitespaces: bool,
}

/// Writes a `tokenizer.model` set up as ChatGLM2's (BPE, byte fallback, a space added in front, whitespace kept) in which
/// each of `words` is one token after a space, and every other character its bytes. Returns the number of pieces;
/// the `chatglm` family's five control tokens follow them.
pub fn write_tokenizer(path: &Path, words: &[&str]) -> usize {
    let piece = |text: String, score: f32, kind: i32| Piece { text, score, kind };
    let mut pieces = vec![("<unk>", 2), ("<s>", 3), ("</s>", 3)]
        .into_iter()
        .map(|(text, kind)| piece(text.to_owned(), 0.0, kind))
        .collect::<Vec<_>>();
    pieces.extend((0..=255).map(|byte| piece(format!("<0x{byte:02X}>"), 0.0, 6)));
    let fixed = pieces.len();
    // A word grows from its left end: each beginning of it is a piece, and shorter ones are merged first.
    let mut grown: Vec<String> = words
        .iter()
        .flat_map(|word| {
            let word = format!("\u{2581}{word}");
            let ends: Vec<usize> = word.char_indices().map(|(at, c)| at + c.len_utf8()).skip(1).collect();
            ends.into_iter().map(move |end| word[..end].to_owned())
        })
        .collect();
    grown.push("\u{2581}".to_owned());
    grown.sort_by_key(|text| (text.chars().count(), text.clone()));
    grown.dedup();
    pieces.extend(grown.into_iter().enumerate().map(|(rank, text)| piece(text, -(rank as f32), 1)));
    assert!(pieces.len() > fixed);
    let count = pieces.len();
    let model = Model {
        pieces,
        trainer: Trainer { model_type: 2, byte_fallback: true },
        normalizer: Normalizer { add_dummy_prefix: true, remove_extra_whitespaces: false },
    };
    std::fs::write(path, model.encode_to_vec()).unwrap();
    count
}
