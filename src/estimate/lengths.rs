//! Lengths of prompts and answers: those of the data, or the most that parameters allow.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use super::row::{Answering, Row};
use crate::{
    base::{digest::Digest, error::Result},
    data::{Split, TOKENS_FILE, TOKENS_INFO_FILE},
    engine::Artifact,
    packing::{TOKEN_BUDGET, TokenSet, shared_beginning},
};

/// Tokens of a written answer beyond those of the longest label: room for a sentence.
const ROOM: usize = 16;

/// Tokens of an answer where it isn't known yet: at most, and usually.
pub(super) const ANSWER: usize = 16;
pub(super) const USUAL_ANSWER: usize = 2;

/// More samples than any row holds.
const MANY: usize = 4096;

/// Lengths of a split's prompts and answers, in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lengths {
    /// The beginning that all prompts have in common.
    pub shared: usize,
    /// What follows it in each prompt, and the right answer; longest first.
    pub(super) own: Vec<(usize, usize)>,
    /// All answers together.
    pub(super) answers: usize,
    pub(super) longest_answer: usize,
}

/// By artifact and split.
type Known = HashMap<(Digest, String), Arc<Lengths>>;

impl Lengths {
    /// The most that prompts of at most `max_tokens` can come to.
    pub(super) fn bound(max_tokens: usize) -> Self {
        Self { shared: 0, own: vec![(max_tokens, ANSWER); MANY], answers: ANSWER, longest_answer: ANSWER }
    }

    /// # Errors
    /// If the split has no examples.
    pub fn of(tokens: &TokenSet, split: &str) -> Result<Self> {
        let samples = tokens.split(split)?;
        let prompts: Vec<&[u32]> = samples.iter().map(|s| s.prompt.as_slice()).collect();
        let shared = shared_beginning(&prompts);
        let answers: Vec<usize> = tokens.answers.labels.iter().map(Vec::len).collect();
        let mut own: Vec<_> = samples.iter().map(|s| (s.prompt.len() - shared, answers[s.label as usize])).collect();
        own.sort_unstable_by_key(|(prompt, answer)| std::cmp::Reverse(prompt + answer));
        let longest_answer = answers.iter().copied().max().unwrap_or(0);
        Ok(Self { shared, own, answers: answers.iter().sum(), longest_answer })
    }

    /// Of a `tokens` artifact. Reads it once in the life of the program: many actions ask.
    ///
    /// # Errors
    /// If the artifact lacks a file or it can't be read, or the split has no examples.
    pub fn read(tokens: &Artifact, split: &str) -> Result<Arc<Self>> {
        static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
        let key = |split: &str| (tokens.digest, split.to_owned());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lengths) = known.get(&key(split)) {
            return Ok(lengths.clone());
        }
        let set = TokenSet::read(tokens.file(TOKENS_FILE)?, tokens.file(TOKENS_INFO_FILE)?)?;
        for split in Split::ALL.map(Split::name) {
            // A split without examples is an error only for whoever asks for it.
            if let Ok(lengths) = Self::of(&set, split) {
                known.insert(key(split), Arc::new(lengths));
            }
        }
        known.get(&key(split)).cloned().map_or_else(|| Self::of(&set, split).map(Arc::new), Ok)
    }

    /// With prompts cut to `max_tokens`.
    pub(super) fn cut(&self, max_tokens: usize) -> Self {
        let room = max_tokens.saturating_sub(self.shared);
        Self { own: self.own.iter().map(|(prompt, answer)| ((*prompt).min(room), *answer)).collect(), ..self.clone() }
    }

    pub fn samples(&self) -> usize {
        self.own.len()
    }

    /// Every token that answering all prompts reads, as one row; written answers are as long as the right ones.
    pub fn all_answered(&self, answering: Answering) -> Row {
        let answers = |right: usize| match answering {
            Answering::Scored => self.answers,
            Answering::Written => right,
        };
        let own = self.own.iter().map(|(prompt, right)| (prompt + answers(*right), answers(*right) + 1));
        let (tokens, predicting) =
            own.fold((self.shared, 0), |(t, p), (tokens, predicting)| (t + tokens, p + predicting));
        Row { tokens, predicting }
    }

    pub fn longest_prompt(&self) -> usize {
        self.shared + self.own.iter().map(|(prompt, _)| *prompt).max().unwrap_or(0)
    }

    /// Tokens of its own of the longest prompt with its answer.
    pub(super) fn longest(&self) -> usize {
        self.own.iter().map(|(prompt, answer)| prompt + answer).max().unwrap_or(0)
    }

    /// The row that the longest `samples` of them make together in training.
    pub fn training_row(&self, samples: usize) -> Row {
        let longest = &self.own[..samples.min(self.own.len())];
        Row {
            tokens: self.shared + longest.iter().map(|(prompt, answer)| prompt + answer).sum::<usize>(),
            // The last token of the prompt, and all of the answer.
            predicting: longest.iter().map(|(_, answer)| answer + 1).sum(),
        }
    }

    /// Tokens that a written answer may have: `max_new_tokens` where the stage says so.
    pub fn room(&self, max_new_tokens: Option<usize>) -> usize {
        max_new_tokens.unwrap_or(self.longest_answer + ROOM)
    }

    /// The largest row of an evaluation with what is written, and the most prompts that one row holds.
    pub fn evaluation_row(&self, answering: Answering, max_new_tokens: Option<usize>) -> Row {
        let answer = match answering {
            Answering::Scored => self.answers,
            Answering::Written => self.room(max_new_tokens),
        };
        let all = self.shared + self.own.iter().map(|(prompt, _)| prompt + answer).sum::<usize>();
        let tokens = all.min(TOKEN_BUDGET).max(self.longest_prompt() + answer);
        let predicting = match answering {
            Answering::Scored => tokens,
            Answering::Written => {
                let mut left = tokens.saturating_sub(self.shared);
                let shortest = self.own.iter().rev().take_while(|(prompt, _)| {
                    let fits = prompt + answer <= left;
                    left = left.saturating_sub(prompt + answer);
                    fits
                });
                shortest.count().max(1)
            }
        };
        Row { tokens, predicting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prompts_make_the_largest_row() {
        let lengths = Lengths { shared: 10, own: vec![(30, 2), (20, 3), (4, 1)], answers: 6, longest_answer: 3 };
        assert_eq!(lengths.training_row(2), Row { tokens: 10 + 32 + 23, predicting: 3 + 4 });
        assert_eq!(lengths.training_row(9), Row { tokens: 10 + 32 + 23 + 5, predicting: 3 + 4 + 2 });
        assert_eq!((lengths.longest_prompt(), lengths.cut(25).longest_prompt()), (40, 25));
        // All three fit into one row, with all answers behind each.
        assert_eq!(lengths.evaluation_row(Answering::Scored, None).tokens, 10 + 54 + 3 * 6);
        let written = |longest| lengths.evaluation_row(Answering::Written, longest);
        assert_eq!(written(Some(2)), Row { tokens: 10 + 54 + 3 * 2, predicting: 3 });
        assert_eq!(written(None).tokens, 10 + 54 + 3 * (3 + ROOM));
        assert_eq!(written(Some(500)), Row { tokens: 1024, predicting: 1 });
        let long = Lengths { shared: 0, own: vec![(5000, 1)], answers: 6, longest_answer: 3 };
        assert_eq!(long.evaluation_row(Answering::Scored, None).tokens, 5006);
    }
}
