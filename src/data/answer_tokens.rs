//! Answers of a model as token ids.

use serde::{Deserialize, Serialize};

use super::chat::Chat;
use crate::base::error::{At, Error, Result};

/// What the model answers for a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub label: String,
    pub words: String,
    /// Ids of the words as they follow a prompt, without the token that ends the answer.
    pub ids: Vec<u32>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tokenizer::test_tokenizer::model;

    #[test]
    fn answers_have_tokens_of_their_own() {
        // Composed and decomposed letters are the same to this tokenizer.
        let m = model(
            "qwen2",
            "{{ messages[0].content }}<|eot|>{% if messages|length > 1 %}{{ messages[1].content }}<|end|>{% endif %}",
        );
        let chat = Chat::new(&m, None, None).unwrap();
        let labels = ["a", "b"].map(str::to_owned);
        let error = |words: [&str; 2]| answers(&chat, &labels, &words.map(str::to_owned)).unwrap_err().message;
        assert!(error(["e\u{301}", "\u{e9}"]).contains("the answers of `a` and `b`, have the same tokens"));
        assert!(error(["x", ""]).contains("no tokens for ``, the answer of `b`"));
        let ok = answers(&chat, &labels, &["the", "x"].map(str::to_owned)).unwrap();
        assert_eq!(m.tokenizer.decode(&ok[0].ids).unwrap(), "the");
    }
}
