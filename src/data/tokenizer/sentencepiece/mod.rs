//! `tokenizer.model`: SentencePiece models of type BPE.
//!
//! The rules are those of the C++ library `sentencepiece` (Kudo and Richardson 2018). A text is normalised (`normalizer`), cut into characters, and neighbours are merged (`bpe`): of all neighbours whose
//! concatenation is a piece, always those of the highest score, the leftmost of equals. Characters that are no piece
//! become their UTF-8 bytes, where the model has byte pieces.

mod bpe;
mod decode;
mod model_proto;
mod normalizer;
mod sentencepiece_tokenizer;

pub use sentencepiece_tokenizer::SentencePieceModel;
