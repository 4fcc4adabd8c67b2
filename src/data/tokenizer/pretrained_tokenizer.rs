//! What a model's files say about its text side.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    AddedTokens, Convention, Script, gguf_vocabulary, sentencepiece, tokenizer_config::Settings, tokenizer_json,
    wordpiece,
};
use crate::base::error::{Error, Result};

/// Files of a model by the names they were published under.
pub type Files = BTreeMap<String, PathBuf>;

pub trait Tokenizer: Send + Sync {
    /// Ids of a text as the reference cuts it, but for control tokens in a person's words, which stay text. No beginning
    /// or end token is added.
    fn encode(&self, script: &Script<'_>) -> Result<Vec<u32>>;

    /// The text of `ids`, control tokens included. A model's output layer may have more rows than its tokenizer has ids
    /// (ChatGLM2's has 65,024 for 64,794): those that stand for nothing are shown as U+FFFD.
    fn decode(&self, ids: &[u32]) -> Result<String>;

    /// Tokens that stand outside the model's own vocabulary, control tokens among them.
    fn added(&self) -> &AddedTokens;

    /// Number of ids, control tokens included.
    fn vocab_size(&self) -> usize;

    /// Ids of a person's words.
    fn encode_words(&self, words: &str) -> Result<Vec<u32>> {
        self.encode(&Script::quoted(words, self.added().control()))
    }
}

/// A tokenizer with what its model's files say about chats.
pub struct TextModel {
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

impl fmt::Debug for TextModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextModel").field("kind", &self.kind).field("context", &self.context).finish_non_exhaustive()
    }
}

/// Where a tokenizer comes from.
pub struct Origin<'a> {
    /// All files of the model.
    pub files: &'a Files,
    /// What the model's family adds to them.
    pub convention: Option<&'a Convention>,
}

/// A tokenizer format: how to recognise it among a model's files, and how to read it.
struct Format {
    describes: &'static str,
    /// The file that holds the tokenizer, if there is one of this format.
    find: fn(&Files) -> Result<Option<&Path>>,
    load: fn(&Path, &Origin<'_>) -> Result<TextModel>,
}

/// In order of preference.
const FORMATS: [Format; 4] = [
    Format { describes: "tokenizer.json", find: tokenizer_json::find, load: tokenizer_json::load },
    Format { describes: "tokenizer.model", find: sentencepiece::find, load: sentencepiece::load },
    Format { describes: "vocab.txt", find: wordpiece::find, load: wordpiece::load },
    Format { describes: "*.gguf", find: gguf_vocabulary::find, load: gguf_vocabulary::load },
];

impl TextModel {
    /// A tokenizer with what `settings` and the other files say.
    pub(super) fn new(
        kind: String,
        tokenizer: Box<dyn Tokenizer>,
        settings: Settings,
        origin: &Origin<'_>,
    ) -> Result<Self> {
        let template = tokenizer_json::chat_template(origin.files, &settings)?;
        Ok(Self {
            kind,
            tokenizer,
            named: settings.named,
            chat_template: template.or_else(|| origin.convention.map(|c| c.chat_template.clone())),
            context: tokenizer_json::context(origin.files)?,
            separate_answers: origin.convention.is_some_and(|c| c.separate_answers),
        })
    }

    /// Reads the tokenizer among a model's `files`; `convention` is that of its family ([`Convention::of`]).
    ///
    /// # Errors
    /// If no file holds a known format, or if the file is damaged or uses what isn't supported.
    pub fn load(files: &Files, convention: Option<&Convention>) -> Result<Self> {
        for format in &FORMATS {
            if let Some(path) = (format.find)(files)? {
                return (format.load)(path, &Origin { files, convention });
            }
        }
        let known: Vec<_> = FORMATS.iter().map(|f| f.describes).collect();
        let have: Vec<_> = files.keys().map(String::as_str).collect();
        Err(Error::input(format!("the model has no tokenizer file; its files are: {}", have.join(", ")))
            .help(format!("add one of these to the model's files: {}", known.join(", "))))
    }

    /// Id of the token that ends a text, where the files name one.
    pub fn eos(&self) -> Option<u32> {
        self.named.get("eos_token").and_then(|t| self.tokenizer.added().id(t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tokenizer() {
        let files = Files::from([("model.safetensors".to_owned(), PathBuf::from("x"))]);
        let e = TextModel::load(&files, None).unwrap_err();
        assert!(e.message.contains("model.safetensors"), "{e}");
        assert!(e.help.unwrap().contains("tokenizer.json"));
    }
}
