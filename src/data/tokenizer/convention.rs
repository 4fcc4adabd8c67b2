//! What a family of models adds to its tokenizer file in code rather than in data.

use serde::{Deserialize, Serialize};

use crate::data::prompt::SENTENCE;

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
    /// What the model reads of an example where the task gives no instruction; None: the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
}

/// A [`Convention`] and whose it is; all of them encode answers apart.
struct Family {
    name: &'static str,
    specials: &'static [&'static str],
    chat_template: &'static str,
    instruction: Option<&'static str>,
}

/// One line per family.
const FAMILIES: [Family; 2] = [
    Family {
        name: "chatglm",
        specials: &["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"],
        chat_template: CHATGLM,
        instruction: None,
    },
    Family { name: "bert", specials: &[], chat_template: BERT, instruction: Some(SENTENCE) },
];

/// ChatGLM2's dialogue: numbered rounds of question and answer.
const CHATGLM: &str = concat!(
    "[gMASK]sop{% for message in messages %}{% if message.role == 'user' %}",
    "{{ '[Round ' ~ (loop.index0 // 2 + 1) ~ ']\n\n问：' ~ message.content ~ '\n\n答：' }}",
    "{% else %}{{ message.content ~ eos_token }}{% endif %}{% endfor %}"
);

/// A sentence between its marks; label words, which an encoder never writes, would be a second one.
const BERT: &str = concat!(
    "[CLS]{{ messages[0].content }}[SEP]",
    "{% if messages|length > 1 %}{{ messages[1].content }}[SEP]{% endif %}"
);

impl Convention {
    /// The convention of a family, if it has one.
    pub fn of(family: &str) -> Option<Self> {
        FAMILIES.iter().find(|f| f.name == family).map(|f| Self {
            specials: f.specials.iter().map(|s| (*s).to_owned()).collect(),
            chat_template: f.chat_template.to_owned(),
            separate_answers: true,
            instruction: f.instruction.map(str::to_owned),
        })
    }
}
