//! Prompts as token ids, as long as a model can read them.

use super::{answer_tokens::Answer, chat::Chat, prompt::Instruction};
use crate::base::error::{Error, Result};

/// How long a prompt may be, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PromptLimit {
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
pub fn prompt_limit(asked: Option<usize>, context: Option<usize>, answers: &[Answer]) -> Result<PromptLimit> {
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
        _ => Ok(PromptLimit { tokens: asked.or(room.map(|(room, _)| room)), room }),
    }
}

impl PromptLimit {
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
    /// Tokens.
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
    pub fn new(chat: &'a Chat<'a>, instruction: &'a Instruction, limit: PromptLimit) -> Result<Self> {
        limit.check(chat.prompt(&instruction.prompt(""))?.len())?;
        Ok(Self { chat, instruction, limit: limit.tokens.unwrap_or(usize::MAX) })
    }

    /// The prompt of `sentence`. One that is too long loses the end of its sentence, never a part of the instruction or
    /// of the chat around it.
    ///
    /// # Errors
    /// If the chat template or the tokenizer refuses the sentence.
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
        tokenizer::{Convention, PretrainedTokenizer, test_tokenizer::model},
    };

    const PLAIN: &str = "<|start|>{{ messages[0].content }}<|eot|>A: {% if messages|length > 1 %}\
        {{ messages[1].content }}<|end|>{% endif %}";

    fn instruction() -> Instruction {
        Instruction::new(INSTRUCTION, &["Yes".to_owned(), "No".to_owned()]).unwrap()
    }

    fn at_most(tokens: usize) -> PromptLimit {
        PromptLimit { tokens: Some(tokens), room: None }
    }

    fn decoded(m: &PretrainedTokenizer, p: &Prompt) -> String {
        m.tokenizer.decode(&p.ids).unwrap()
    }

    #[test]
    fn only_the_sentence_is_shortened() {
        let m = model("smollm", PLAIN);
        let chat = Chat::new(&m, None, None).unwrap();
        let instruction = instruction();
        let whole = Prompter::new(&chat, &instruction, PromptLimit::default()).unwrap();
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
        let m = PretrainedTokenizer::load(&files, Convention::of("chatglm").as_ref()).unwrap();
        let chat = Chat::new(&m, None, None).unwrap();
        let instruction = instruction();
        let whole = Prompter::new(&chat, &instruction, PromptLimit::default()).unwrap();
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
}
