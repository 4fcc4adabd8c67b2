//! Text to token ids and back, for the tokenizer formats that models are published with.
//!
//! A format is one file here and one line in the registry of `tokenizer_registry`. What a family of models adds in code is a
//! [`Convention`]. "The reference" is the Python library `transformers`. A text comes as a [`TokenizerInput`], which knows
//! whose words are whose: control tokens (`<|im_end|>` and the like) come out of what a chat template
//! wrote, never out of a person's words, see [`crate::data::chat`].

mod added_tokens;
mod convention;
mod gguf_metadata;
mod gguf_pre_tokenizer;
mod gguf_vocabulary;
mod library_tokenizer;
mod precompiled_charsmap;
mod pretrained_tokenizer;
mod sentencepiece;
mod special_tokens;
#[cfg(test)]
pub(crate) mod test_tokenizer;
mod tokenizer_config;
mod tokenizer_config_keys;
mod tokenizer_files;
mod tokenizer_format;
mod tokenizer_input;
mod tokenizer_json;
mod tokenizer_json_keys;
mod tokenizer_registry;
mod tokenizer_trait;
mod wordpiece;

pub use added_tokens::AddedTokens;
pub use convention::Convention;
pub use library_tokenizer::LibraryTokenizer;
pub use pretrained_tokenizer::PretrainedTokenizer;
pub use tokenizer_files::Files;
pub use tokenizer_input::TokenizerInput;
pub use tokenizer_trait::Tokenizer;
