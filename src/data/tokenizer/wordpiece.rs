//! `vocab.txt` with `tokenizer_config.json`: WordPiece, as the first BERT models were published.
//!
//! What the configuration leaves out is as in the reference implementation: text in lower case, without accents, with
//! Chinese characters cut apart.

use std::path::Path;

use tokenizers::{
    decoders::wordpiece::WordPiece as WordPieceDecoder,
    models::{bpe::Vocab, wordpiece::WordPiece},
    normalizers::BertNormalizer,
    pre_tokenizers::bert::BertPreTokenizer,
};

use super::{
    library_tokenizer::{LibraryTokenizer, library},
    pretrained_tokenizer::PretrainedTokenizer,
    tokenizer_config::TokenizerConfig,
    tokenizer_format::{Origin, TokenizerFormat},
};
use crate::base::error::{At, Error, IoAt, Result};

const FILE: &str = "vocab.txt";

/// The class whose names for control tokens hold where the configuration gives none.
const CLASS: &str = "BertTokenizer";

/// The format of `vocab.txt`.
pub struct VocabTxt;

impl TokenizerFormat for VocabTxt {
    fn file_name(&self) -> &'static str {
        FILE
    }

    fn load(&self, path: &Path, origin: &Origin<'_>) -> Result<PretrainedTokenizer> {
        let text = std::fs::read_to_string(path).io_at("read", path)?;
        let config = TokenizerConfig::read(origin.files, Some(CLASS))?;
        let tokenizer = Box::new(LibraryTokenizer::new(word_piece(&text, &config).at(FILE)?));
        Ok(PretrainedTokenizer::new(format!("{FILE} WordPiece"), tokenizer, config, origin.convention))
    }
}

/// A token a line; its number is its id.
fn word_piece(text: &str, config: &TokenizerConfig) -> Result<tokenizers::Tokenizer> {
    let tokens = text.strip_suffix('\n').unwrap_or(text).split('\n').map(|line| line.trim_end_matches('\r'));
    let vocab: Vocab = tokens.zip(0..).map(|(token, id)| (token.to_owned(), id)).collect();
    let stated = |name: &str| config.tokens.iter().any(|(id, token)| id.is_some() && token.content == name);
    if let Some(token) = config.named.values().find(|name| !vocab.contains_key(*name) && !stated(name)) {
        return Err(Error::input(format!("the vocabulary has no `{token}`"))
            .help("the file is cut short, or `tokenizer_config.json` belongs to another model"));
    }
    let unknown = config.named.get("unk_token").ok_or_else(|| Error::input("`unk_token` is null"))?;
    let model = WordPiece::builder().vocab(vocab).unk_token(unknown.clone()).build().map_err(library)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let lowercase = config.do_lower_case.unwrap_or(true);
    let chinese = config.tokenize_chinese_chars.unwrap_or(true);
    let normalizer = BertNormalizer::new(true, chinese, config.strip_accents, lowercase);
    tokenizer.with_normalizer(Some(normalizer)).map_err(library)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(WordPieceDecoder::default()));
    config.add_to(&mut tokenizer)?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::{
        chat::Chat,
        prompt::{Instruction, SENTENCE},
        prompter::{Prompter, prompt_limit},
        tokenizer::{convention::Convention, tokenizer_config::TOKENIZER_CONFIG, tokenizer_files::Files},
    };

    const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nfilm\ngood\n##ly\n!\n好\ncafe\ncafé\nGood\n[\n]\nsep\n";

    fn files(dir: &Path, vocab: &str, config: &str) -> Files {
        let texts = [(FILE, vocab), (TOKENIZER_CONFIG, config), ("config.json", r#"{"max_position_embeddings": 9}"#)];
        for (name, text) in texts {
            std::fs::write(dir.join(name), text).unwrap();
        }
        texts.iter().map(|(name, _)| ((*name).to_owned(), dir.join(name))).collect()
    }

    fn load(vocab: &str, config: &str) -> Result<PretrainedTokenizer> {
        let dir = tempfile::tempdir().unwrap();
        PretrainedTokenizer::load(&files(dir.path(), vocab, config), Convention::of("bert").as_ref())
    }

    #[test]
    fn words_are_cut_as_the_configuration_says() {
        let uncased = load(VOCAB, "{}").unwrap();
        assert_eq!((uncased.kind.as_str(), uncased.context), ("vocab.txt WordPiece", Some(9)));
        let ids = |m: &PretrainedTokenizer, text: &str| m.tokenizer.encode_words(text).unwrap();
        assert_eq!(ids(&uncased, "A Goodly  film! 好好 Café zzz"), [5, 7, 8, 6, 9, 10, 10, 11, 1]);
        assert_eq!(uncased.tokenizer.decode(&[5, 7, 8, 6]).unwrap(), "a goodly film");
        let cased = load(&VOCAB.replace('\n', "\r\n"), r#"{"do_lower_case": false}"#).unwrap();
        assert_eq!(ids(&cased, "A Good café"), [1, 13, 12]);
    }

    #[test]
    fn an_encoder_reads_the_sentence_between_its_marks() {
        let m = load(VOCAB, "{}").unwrap();
        let chat = Chat::new(&m, None, None).unwrap();
        assert_eq!(chat.prompt("good film").unwrap(), [2, 7, 6, 3]);
        assert_eq!(chat.prompt("[SEP] good").unwrap(), [2, 14, 16, 15, 7, 3], "a user can't write a mark");
        assert_eq!((chat.answer("good").unwrap(), chat.end()), (vec![7], 3));
        let instruction = Instruction::new(&Convention::of("bert").unwrap().instruction.unwrap(), &[]).unwrap();
        assert_eq!(instruction.prompt(SENTENCE), SENTENCE);
        let prompter = Prompter::new(&chat, &instruction, prompt_limit(Some(5), None, &[]).unwrap()).unwrap();
        let prompt = prompter.prompt("good a film good good").unwrap();
        assert_eq!((prompt.ids, prompt.truncated), (vec![2, 7, 5, 6, 3], true));
    }

    #[test]
    fn a_vocabulary_without_marks_is_refused() {
        let e = load("[PAD]\n[UNK]\na\n", "{}").unwrap_err();
        assert!(e.message.contains("`[CLS]`") && e.help.is_some(), "{e}");
    }

    /// The same words as the `tokenizer.json` that a real model brings.
    #[test]
    fn agrees_with_a_real_tokenizer_json() {
        let Some(folder) = std::env::var_os("EMOPIPE_TEST_BERT").map(PathBuf::from) else {
            eprintln!(
                "SKIPPED agrees_with_a_real_tokenizer_json: set EMOPIPE_TEST_BERT to a folder with a BERT model's files"
            );
            return;
        };
        let model = |names: &[&str]| {
            let files = names.iter().map(|n| ((*n).to_owned(), folder.join(n))).collect();
            PretrainedTokenizer::load(&files, Convention::of("bert").as_ref()).unwrap()
        };
        let (ours, theirs) = (model(&[FILE, TOKENIZER_CONFIG]), model(&["tokenizer.json", TOKENIZER_CONFIG]));
        for text in [
            "Hello, World! It's 12.50$ (really).",
            "naïve Ångström ½ ﬁ — “content” … ١٢٣",
            "我今天很开心！ mixed 中文 text 日本語 한국어",
            "great movie 😀👍🏽!! \u{200d}\u{feff}\u{0}\ttabs\nlines",
            "[CLS] [SEP] ##ing aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(
                ours.tokenizer.encode_words(text).unwrap(),
                theirs.tokenizer.encode_words(text).unwrap(),
                "{text}"
            );
        }
        assert_eq!(ours.tokenizer.vocab_size(), theirs.tokenizer.vocab_size());
        assert_eq!(Chat::new(&ours, None, None).unwrap().prompt("so good").unwrap(), [101, 2061, 2204, 102]);
    }
}
