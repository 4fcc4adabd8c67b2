//! The file: a protocol buffer, of which these are the fields that matter.

use prost::Message;

use crate::base::error::{Error, Result};

/// `TrainerSpec.ModelType`
const UNIGRAM: i32 = 1;
const BPE: i32 = 2;

/// `ModelProto`: the whole file.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pub pieces: Vec<PieceProto>,
    #[prost(message, optional, tag = "2")]
    pub trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    pub normalizer: Option<NormalizerSpec>,
}

/// `ModelProto.SentencePiece`
#[derive(Clone, PartialEq, Message)]
pub struct PieceProto {
    #[prost(string, tag = "1")]
    pub text: String,
    #[prost(float, tag = "2")]
    pub score: f32,
    #[prost(int32, optional, tag = "3")]
    pub kind: Option<i32>,
}

/// `TrainerSpec`: how the model was trained.
#[derive(Clone, PartialEq, Message)]
pub struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    pub model_type: Option<i32>,
    #[prost(bool, tag = "24")]
    pub treat_whitespace_as_suffix: bool,
    #[prost(bool, tag = "35")]
    pub byte_fallback: bool,
    #[prost(int32, optional, tag = "40")]
    pub unk_id: Option<i32>,
    #[prost(int32, optional, tag = "41")]
    pub bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42")]
    pub eos_id: Option<i32>,
    #[prost(int32, optional, tag = "43")]
    pub pad_id: Option<i32>,
    #[prost(string, optional, tag = "44")]
    pub unk_surface: Option<String>,
}

/// `NormalizerSpec`: what is done to a text first.
#[derive(Clone, PartialEq, Message)]
pub struct NormalizerSpec {
    #[prost(bytes = "vec", tag = "2")]
    pub precompiled_charsmap: Vec<u8>,
    #[prost(bool, optional, tag = "3")]
    pub add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub escape_whitespaces: Option<bool>,
}

/// A whole file.
pub struct Model {
    pub pieces: Vec<PieceProto>,
    pub trainer: TrainerSpec,
    pub normalizer: NormalizerSpec,
}

impl Model {
    /// # Errors
    /// If the file is cut short or damaged, or if its model isn't a BPE.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let damaged = |what: String| {
            Error::input(format!("not a whole SentencePiece model ({what})"))
                .help("the file is damaged or cut short: fetch it again, and compare it with its publisher's hash")
        };
        let proto = ModelProto::decode(bytes).map_err(|e| damaged(e.to_string()))?;
        // Both stand behind the pieces, so that a file that ends between two pieces lacks them.
        let trainer = proto.trainer.ok_or_else(|| damaged("it has no trainer specification".to_owned()))?;
        let normalizer = proto.normalizer.ok_or_else(|| damaged("it has no normalizer specification".to_owned()))?;
        match trainer.model_type.unwrap_or(UNIGRAM) {
            BPE => Ok(Self { pieces: proto.pieces, trainer, normalizer }),
            other => {
                let name = if other == UNIGRAM { "unigram" } else { "word or character" };
                Err(Error::input(format!("a SentencePiece model of type {name} isn't supported"))
                    .help("BPE models are; add the model's `tokenizer.json` to its files to have that one used"))
            }
        }
    }
}

/// `ModelProto.SentencePiece.Type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    /// Used in merging only: it falls apart into what it was merged from.
    Unused,
    Byte(u8),
}

impl PieceType {
    /// # Errors
    /// If the type is unknown, or if a byte's text names none.
    pub fn of(piece: &PieceProto) -> Result<Self> {
        let wrong = |what: String| Error::input(format!("the piece `{}` {what}", piece.text));
        Ok(match piece.kind.unwrap_or(1) {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => {
                let digits = piece.text.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
                let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
                Self::Byte(byte.ok_or_else(|| wrong("is no byte".to_owned()))?)
            }
            other => return Err(wrong(format!("is of unknown type {other}"))),
        })
    }
}
