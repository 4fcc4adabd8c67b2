//! What a family of models adds to its tokenizer file in code rather than in data.

use serde::{Deserialize, Serialize};

/// The part of a model's text side that its published files don't say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Convention {
    /// Control tokens whose ids follow those of the file.
    pub specials: Vec<String>,
    /// Jinja template of a conversation, where the files bring none.
    pub chat_template: String,
    /// An answer is encoded as a text of its own, not as what continues the prompt's last word.
    pub separate_answers: bool,
}

/// One line per family: name, control tokens, template, whether answers are encoded apart.
const FAMILIES: [(&str, &[&str], &str, bool); 1] =
    [("chatglm", &["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"], CHATGLM, true)];

/// ChatGLM2's dialogue: numbered rounds of question and answer.
const CHATGLM: &str = concat!(
    "[gMASK]sop{% for message in messages %}{% if message.role == 'user' %}",
    "{{ '[Round ' ~ (loop.index0 // 2 + 1) ~ ']\n\n问：' ~ message.content ~ '\n\n答：' }}",
    "{% else %}{{ message.content ~ eos_token }}{% endif %}{% endfor %}"
);

impl Convention {
    /// The convention of a family, if it has one.
    pub fn of(family: &str) -> Option<Self> {
        FAMILIES.iter().find(|(name, ..)| *name == family).map(|(_, specials, template, separate_answers)| Self {
            specials: specials.iter().map(|s| (*s).to_owned()).collect(),
            chat_template: (*template).to_owned(),
            separate_answers: *separate_answers,
        })
    }
}
