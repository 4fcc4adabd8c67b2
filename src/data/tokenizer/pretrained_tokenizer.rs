//! A tokenizer with what its model's files say about chats.

use std::{collections::BTreeMap, fmt};

use super::{convention::Convention, tokenizer_config::TokenizerConfig, tokenizer_trait::Tokenizer};

/// A tokenizer with what its model's files say about chats.
pub struct PretrainedTokenizer {
    /// The format, as shown in messages and artifacts: `gguf gpt2/smollm`, `tokenizer.json BPE`.
    pub kind: String,
    pub tokenizer: Box<dyn Tokenizer>,
    /// `bos_token`, `eos_token`, ... as chat templates know them.
    pub named: BTreeMap<String, String>,
    pub chat_template: Option<String>,
    /// Tokens that the model was made to read at most, where the files say it.
    pub context: Option<usize>,
    /// See [`Convention::separate_answers`].
    pub separate_answers: bool,
}

impl fmt::Debug for PretrainedTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PretrainedTokenizer")
            .field("kind", &self.kind)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl PretrainedTokenizer {
    /// A tokenizer with what `config` says, or else its family's `convention`.
    pub(super) fn new(
        kind: String,
        tokenizer: Box<dyn Tokenizer>,
        config: TokenizerConfig,
        convention: Option<&Convention>,
    ) -> Self {
        Self {
            kind,
            tokenizer,
            named: config.named,
            chat_template: config.chat_template.or_else(|| convention.map(|c| c.chat_template.clone())),
            context: config.context,
            separate_answers: convention.is_some_and(|c| c.separate_answers),
        }
    }

    /// Id of the token that ends a text, where the files name one.
    pub fn eos(&self) -> Option<u32> {
        self.named.get("eos_token").and_then(|t| self.tokenizer.added().id(t))
    }
}
