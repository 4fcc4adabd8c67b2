//! Prompts and answers as token ids: what training and evaluation read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{chat::Chat, prompt::Instruction};
use crate::base::error::{At, Error, Result};

/// One row an example: `id` and `split` (strings), `label_id` (u32), `input_ids` (list of u32: the whole prompt, without
/// the answer).
pub const TOKENS_FILE: &str = "tokens.parquet";

/// A [`TokensInfo`].
pub const TOKENS_INFO_FILE: &str = "tokens.json";

/// What all prompts of a task have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensInfo {
    /// Format and kind of the tokenizer, for people.
    pub tokenizer: String,
    pub vocab_size: usize,
    /// In the order of `label_id`.
    pub labels: Vec<Answer>,
    /// The token that ends an answer.
    pub end_id: u32,
    /// The instruction, with `{sentence}` where the sentence stands.
    pub instruction: String,
    /// The prompt of the first training example, as the model reads it.
    pub example: String,
    /// Longest prompt that was allowed, in tokens.
    pub max_tokens: Option<usize>,
    pub prompt_tokens: LengthStats,
    /// Prompts whose sentence was shortened.
    pub truncated: usize,
    /// The same by split; splits without any are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub truncated_by_split: BTreeMap<String, usize>,
}

/// What the model answers for a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub label: String,
    pub words: String,
    /// Ids of the words as they follow a prompt, without the token that ends the answer.
    pub ids: Vec<u32>,
}

/// Lengths of all prompts, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LengthStats {
    pub min: usize,
    pub median: usize,
    /// 95 of 100 prompts are not longer.
    pub p95: usize,
    pub max: usize,
    pub total: u64,
}

impl LengthStats {
    /// `None` for no lengths at all. Percentiles are nearest-rank, so every one is a length that occurs.
    pub fn of(mut lengths: Vec<usize>) -> Option<Self> {
        lengths.sort_unstable();
        let (min, max) = (*lengths.first()?, *lengths.last()?);
        let rank = |percent: usize| lengths[(lengths.len() * percent).div_ceil(100).max(1) - 1];
        let total = lengths.iter().map(|l| *l as u64).sum();
        Some(Self { min, median: rank(50), p95: rank(95), max, total })
    }
}

/// The answers of all labels, with their ids.
///
/// # Errors
/// If the tokenizer writes nothing for an answer, or the same for two of them.
pub fn answers(chat: &Chat<'_>, labels: &[String], words: &[String]) -> Result<Vec<Answer>> {
    let mut answers: Vec<Answer> = Vec::with_capacity(labels.len());
    for (label, words) in labels.iter().zip(words) {
        let ids = chat.answer(words).at(format!("label `{label}`"))?;
        let remedy = "choose other words in the task's `words` table";
        if ids.is_empty() {
            return Err(Error::input(format!("the tokenizer has no tokens for `{words}`, the answer of `{label}`"))
                .help(remedy));
        }
        if let Some(twin) = answers.iter().find(|a| a.ids == ids) {
            return Err(Error::input(format!(
                "`{}` and `{words}`, the answers of `{}` and `{label}`, have the same tokens",
                twin.words, twin.label
            ))
            .help(remedy));
        }
        answers.push(Answer { label: label.clone(), words: words.clone(), ids });
    }
    Ok(answers)
}

/// How long a prompt may be, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// What holds; None: any length.
    pub tokens: Option<usize>,
    /// What the model's context leaves beside the longest answer, and that context.
    room: Option<(usize, usize)>,
}

/// Longest prompt for a model that reads `context` tokens: what was `asked` for, or else all that the longest of `answers`
/// and its end token leave.
///
/// # Errors
/// If what was asked for and an answer don't fit together, or if the context has no room beside an answer.
pub fn prompt_limit(asked: Option<usize>, context: Option<usize>, answers: &[Answer]) -> Result<Limit> {
    let answer = answers.iter().map(|a| a.ids.len()).max().unwrap_or(0) + 1;
    let room = context.map(|context| (context.saturating_sub(answer), context));
    match (asked, room) {
        (_, Some((0, context))) => Err(Error::input(format!(
            "the model's context of {context} tokens has no room for a prompt beside an answer of {answer}"
        ))
        .help("choose shorter answers in the task's `words` table, or a model that reads more")),
        (Some(asked), Some((room, context))) if asked > room => Err(Error::input(format!(
            "`max_tokens` is {asked}, and the model's context of {context} tokens leaves {room} beside an answer of {answer}"
        ))
        .help(format!("set `max_tokens` to {room} or less"))),
        _ => Ok(Limit { tokens: asked.or(room.map(|(room, _)| room)), room }),
    }
}

impl Limit {
    /// What to say where instruction and chat header have `fixed` tokens, and a sentence needs one more.
    fn check(self, fixed: usize) -> Result<()> {
        let Some(tokens) = self.tokens.filter(|tokens| fixed >= *tokens) else { return Ok(()) };
        let wrong = |what: String| {
            Error::input(format!(
                "{what} leaves no room for a sentence: instruction and chat header take {fixed} tokens"
            ))
        };
        match self.room {
            Some((room, context)) if fixed >= room => Err(wrong(format!(
                "the model's context of {context} tokens, of which an answer takes {},",
                context - room
            ))
            .help("shorten the task's instruction or its list of answers, or choose a model that reads more")),
            room => {
                let enough = (fixed + 64).next_multiple_of(32);
                let enough = room.map_or(enough, |(room, _)| enough.min(room));
                Err(wrong(format!("`max_tokens` = {tokens}"))
                    .help(format!("raise `max_tokens`, to {enough} for example, or shorten the task's instruction")))
            }
        }
    }
}

/// Makes prompts of sentences.
pub struct Prompter<'a> {
    chat: &'a Chat<'a>,
    instruction: &'a Instruction,
    limit: usize,
}

/// A prompt's ids, and whether its sentence was shortened to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    pub ids: Vec<u32>,
    pub truncated: bool,
}

impl<'a> Prompter<'a> {
    /// # Errors
    /// If instruction and chat header alone take all of `limit`.
    pub fn new(chat: &'a Chat<'a>, instruction: &'a Instruction, limit: Limit) -> Result<Self> {
        limit.check(chat.prompt(&instruction.prompt(""))?.len())?;
        Ok(Self { chat, instruction, limit: limit.tokens.unwrap_or(usize::MAX) })
    }

    /// The prompt of `sentence`. One that is too long loses the end of its sentence, never a part of the instruction or
    /// of the chat around it.
    pub fn prompt(&self, sentence: &str) -> Result<Prompt> {
        let ids = |sentence: &str| self.chat.prompt(&self.instruction.prompt(sentence));
        let whole = ids(sentence)?;
        if whole.len() <= self.limit {
            return Ok(Prompt { ids: whole, truncated: false });
        }
        let ends: Vec<usize> = sentence.char_indices().map(|(at, _)| at).collect();
        // `ends[fits]` characters are known to fit, `ends[too_long]` are not.
        let (mut fits, mut too_long) = (0, ends.len());
        let mut best = ids("")?;
        while too_long - fits > 1 {
            let middle = fits + (too_long - fits) / 2;
            let shorter = ids(sentence[..ends[middle]].trim_end())?;
            if shorter.len() <= self.limit {
                (fits, best) = (middle, shorter);
            } else {
                too_long = middle;
            }
        }
        Ok(Prompt { ids: best, truncated: true })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::{
        prompt::INSTRUCTION,
        tokenizer::{Convention, TextModel, test_tokenizer::model},
    };

    const PLAIN: &str = "<|start|>{{ messages[0].content }}<|eot|>A: {% if messages|length > 1 %}\
        {{ messages[1].content }}<|end|>{% endif %}";

    fn instruction() -> Instruction {
        Instruction::new(INSTRUCTION, &["Yes".to_owned(), "No".to_owned()]).unwrap()
    }

    fn at_most(tokens: usize) -> Limit {
        Limit { tokens: Some(tokens), room: None }
    }

    fn decoded(m: &TextModel, p: &Prompt) -> String {
        m.tokenizer.decode(&p.ids).unwrap()
    }

    #[test]
    fn only_the_sentence_is_shortened() {
        let m = model("smollm", PLAIN);
        let chat = Chat::new(&m, None, None).unwrap();
        let instruction = instruction();
        let whole = Prompter::new(&chat, &instruction, Limit::default()).unwrap();
        let sentence = "abc 你好 the the 123";
        let full = whole.prompt(sentence).unwrap();
        assert!(!full.truncated);
        let fixed = whole.prompt("").unwrap().ids.len();
        for limit in fixed + 1..full.ids.len() {
            let p = Prompter::new(&chat, &instruction, at_most(limit)).unwrap().prompt(sentence).unwrap();
            assert!(p.truncated && p.ids.len() <= limit);
            let text = decoded(&m, &p);
            let kept = text.strip_prefix("<|start|>Classify the sentiment of the sentence to Yes or No: ").unwrap();
            let kept = kept.strip_suffix("<|eot|>A: ").unwrap();
            assert!(sentence.starts_with(kept), "{kept}");
            // As much as fits: a space and a character have four tokens at most here.
            assert!(p.ids.len() + 4 > limit, "{} of {limit}", p.ids.len());
        }
        let exact = Prompter::new(&chat, &instruction, at_most(full.ids.len())).unwrap();
        assert_eq!(exact.prompt(sentence).unwrap(), full);
    }

    /// ChatGLM's prompt, in characters of up to four tokens each.
    #[test]
    fn a_family_s_prompt_stays_whole_around_a_shortened_sentence() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sentencepiece/plain.model");
        let files = [("tokenizer.model".to_owned(), path)].into();
        let m = TextModel::load(&files, Convention::of("chatglm").as_ref()).unwrap();
        let chat = Chat::new(&m, None, None).unwrap();
        let instruction = instruction();
        let whole = Prompter::new(&chat, &instruction, Limit::default()).unwrap();
        let sentence = "她今天 sop 很😀开心 the end 👍🏽";
        let (fixed, full) = (whole.prompt("").unwrap().ids.len(), whole.prompt(sentence).unwrap().ids.len());
        for limit in fixed + 1..full {
            let p = Prompter::new(&chat, &instruction, at_most(limit)).unwrap().prompt(sentence).unwrap();
            assert!(p.truncated && p.ids.len() <= limit && p.ids.len() + 5 > limit, "{} of {limit}", p.ids.len());
            let text = decoded(&m, &p);
            let kept = text
                .strip_prefix("[gMASK]sop[Round 1]\n\n问：Classify the sentiment of the sentence to Yes or No: ")
                .and_then(|rest| rest.strip_suffix("\n\n答："));
            assert!(kept.is_some_and(|kept| sentence.starts_with(kept)), "{text}");
        }
    }

    #[test]
    fn no_room_for_a_sentence() {
        let m = model("smollm", PLAIN);
        let chat = Chat::new(&m, None, None).unwrap();
        let e = Prompter::new(&chat, &instruction(), at_most(10)).err().unwrap();
        assert!(e.message.contains("`max_tokens` = 10 leaves no room"), "{e}");
        assert!(e.help.unwrap().contains("raise `max_tokens`"));
    }

    /// Advice that the next check would refuse is none.
    #[test]
    fn a_full_context_is_not_blamed_on_max_tokens() {
        let m = model("smollm", PLAIN);
        let chat = Chat::new(&m, None, None).unwrap();
        let instruction = instruction();
        let fixed = chat.prompt(&instruction.prompt("")).unwrap().len();
        let answers = [Answer { label: "a".into(), words: "A".into(), ids: vec![1, 2, 3] }];
        for asked in [None, Some(fixed)] {
            let limit = prompt_limit(asked, Some(fixed + 4), &answers).unwrap();
            let e = Prompter::new(&chat, &instruction, limit).err().unwrap();
            assert!(e.message.contains("model's context"), "{e}");
            assert!(!e.help.unwrap().contains("max_tokens"));
        }
        let limit = prompt_limit(Some(fixed), Some(fixed + 9), &answers).unwrap();
        let e = Prompter::new(&chat, &instruction, limit).err().unwrap();
        assert!(e.help.unwrap().contains(&format!("to {} for example", fixed + 5)));
        assert!(prompt_limit(None, Some(4), &answers).unwrap_err().message.contains("no room for a prompt"));
    }

    #[test]
    fn answers_have_tokens_of_their_own() {
        // Composed and decomposed letters are the same to this tokenizer.
        let m = model("qwen2", PLAIN);
        let chat = Chat::new(&m, None, None).unwrap();
        let labels = ["a", "b"].map(str::to_owned);
        let error = |words: [&str; 2]| answers(&chat, &labels, &words.map(str::to_owned)).unwrap_err().message;
        assert!(error(["e\u{301}", "\u{e9}"]).contains("the answers of `a` and `b`, have the same tokens"));
        assert!(error(["x", ""]).contains("no tokens for ``, the answer of `b`"));
        let ok = answers(&chat, &labels, &["the", "x"].map(str::to_owned)).unwrap();
        assert_eq!(m.tokenizer.decode(&ok[0].ids).unwrap(), "the");
    }

    #[test]
    fn a_prompt_leaves_room_for_the_answer() {
        let answers = [Answer { label: "a".into(), words: "A".into(), ids: vec![1, 2, 3] }];
        assert_eq!(prompt_limit(None, Some(100), &answers).unwrap().tokens, Some(96));
        assert_eq!(prompt_limit(Some(96), Some(100), &answers).unwrap().tokens, Some(96));
        assert_eq!(prompt_limit(None, None, &answers).unwrap().tokens, None);
        assert!(
            prompt_limit(Some(97), Some(100), &answers)
                .unwrap_err()
                .message
                .contains("context of 100 tokens leaves 96")
        );
    }

    #[test]
    fn percentiles_are_lengths_that_occur() {
        let s = LengthStats::of((1..=100).rev().collect()).unwrap();
        assert_eq!((s.min, s.median, s.p95, s.max, s.total), (1, 50, 95, 100, 5050));
        assert_eq!(LengthStats::of(vec![7]).unwrap().p95, 7);
        assert_eq!(LengthStats::of(vec![]), None);
    }
}
