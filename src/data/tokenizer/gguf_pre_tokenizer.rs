//! `tokenizer.ggml.pre`: the rule by which the tokenizer of a GGUF file cuts text before merging.
//!
//! Each rule is the one in the `tokenizer.json` that the model was published with.

use tokenizers::{
    SplitDelimiterBehavior,
    decoders::byte_level::ByteLevel as ByteLevelDecoder,
    normalizers::NFC,
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::library_tokenizer::library;
use crate::base::error::{Error, Result};

/// How text is cut into the words that BPE works on: a value of `tokenizer.ggml.pre`.
pub struct PreTokenization {
    pub name: &'static str,
    /// Text is brought to Unicode's composed form first.
    nfc: bool,
    /// Every numeric character is a word.
    digits: bool,
    /// A word is a match; without one, the rule of GPT-2.
    words: Option<&'static str>,
    /// A word of the vocabulary is taken whole, whatever the merges would give.
    pub whole_words: bool,
}

const KNOWN: [PreTokenization; 4] = [
    PreTokenization { name: "gpt-2", nfc: false, digits: false, words: None, whole_words: false },
    PreTokenization { name: "smollm", nfc: false, digits: true, words: None, whole_words: false },
    PreTokenization {
        name: "qwen2",
        nfc: true,
        digits: false,
        words: Some(concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        whole_words: false,
    },
    PreTokenization {
        name: "llama-bpe",
        nfc: false,
        digits: false,
        words: Some(concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        whole_words: true,
    },
];

impl PreTokenization {
    /// The rule of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<&'static Self> {
        KNOWN.iter().find(|c| c.name == name).ok_or_else(|| {
            let known: Vec<_> = KNOWN.iter().map(|c| c.name).collect();
            Error::input(format!("pre-tokenizer `{name}` isn't supported (known: {})", known.join(", ")))
                .help("add the model's `tokenizer.json` to its files to have that one used")
        })
    }

    /// Has `tokenizer` cut text by this rule, and join it again.
    ///
    /// # Errors
    /// If the crate refuses the rule.
    pub fn set_up(&self, tokenizer: &mut tokenizers::Tokenizer) -> Result<()> {
        if self.nfc {
            tokenizer.with_normalizer(Some(NFC)).map_err(library)?;
        }
        let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
        if self.digits {
            steps.push(Digits::new(true).into());
        }
        if let Some(words) = self.words {
            let pattern = SplitPattern::Regex(words.to_owned());
            steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(library)?.into());
        }
        steps.push(ByteLevel::new(false, true, self.words.is_none()).into());
        tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
        tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
        Ok(())
    }
}
