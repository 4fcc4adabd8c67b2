//! The task-guiding instruction and the answer words of its labels.

use std::collections::BTreeMap;

use crate::base::error::{Error, Result};

/// The paper's prompt. `{labels}` is the list of answer words, `{sentence}` the one utterance.
pub const INSTRUCTION: &str = "Classify the sentiment of the sentence to {labels}: {sentence}";

const LABELS: &str = "{labels}";
/// Where the sentence stands in an instruction.
pub const SENTENCE: &str = "{sentence}";

/// An instruction whose labels are filled in; only the sentence is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    before: String,
    after: String,
}

impl Instruction {
    /// `template` holds `{sentence}` once and may hold `{labels}`, which becomes the joined `words`.
    ///
    /// # Errors
    /// If `{sentence}` is missing or repeated, or if another name stands in braces.
    pub fn new(template: &str, words: &[String]) -> Result<Self> {
        let wrong = |what: String| {
            Error::input(format!("instruction `{template}`: {what}"))
                .help(format!("write it like `{INSTRUCTION}`: {SENTENCE} once, {LABELS} where the answers are listed"))
        };
        if let Some(name) = unknown_placeholder(template) {
            return Err(wrong(format!("unknown placeholder `{{{name}}}`")));
        }
        let (before, after) = template
            .split_once(SENTENCE)
            .ok_or_else(|| wrong(format!("it has no place for the sentence ({SENTENCE})")))?;
        if after.contains(SENTENCE) {
            return Err(wrong(format!("{SENTENCE} stands more than once")));
        }
        let list = join_words(words);
        Ok(Self { before: before.replace(LABELS, &list), after: after.replace(LABELS, &list) })
    }

    /// The whole user message.
    pub fn prompt(&self, sentence: &str) -> String {
        format!("{}{sentence}{}", self.before, self.after)
    }
}

/// The first `{name}` that isn't one of ours. Other uses of braces are text.
fn unknown_placeholder(template: &str) -> Option<&str> {
    template.match_indices('{').find_map(|(at, _)| {
        let rest = &template[at + 1..];
        let name = &rest[..rest.find('}')?];
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        (is_name && name != "labels" && name != "sentence").then_some(name)
    })
}

/// Commas between the words and ` or ` before the last one, without a comma before it: `A or B`, `A, B or C`.
pub fn join_words(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    }
}

/// What the model answers for a label where the task says nothing: the label with a capital first letter, and with
/// spaces for `_` and `-` (`very-negative` becomes `Very negative`).
pub fn default_words(label: &str) -> String {
    let spaced = label.replace(['_', '-'], " ");
    let mut chars = spaced.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The answer words of `labels`, in their order: those that the task `chosen`, else the default.
///
/// # Errors
/// If a chosen label is none of `labels`, or if an answer is empty or, but for case, the same as another label's.
pub fn answer_words<'a>(
    labels: &[String],
    chosen: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<String>> {
    let chosen: BTreeMap<&str, &str> = chosen.into_iter().collect();
    if let Some(unknown) = chosen.keys().find(|label| !labels.iter().any(|l| l == *label)) {
        return Err(Error::input(format!("`words` names the label `{unknown}`, which the task doesn't have"))
            .help(format!("its labels are: {}", labels.join(", "))));
    }
    let mut words: Vec<String> = Vec::with_capacity(labels.len());
    for label in labels {
        let answer =
            chosen.get(label.as_str()).map_or_else(|| default_words(label), |w| (*w).to_owned()).trim().to_owned();
        if answer.is_empty() {
            return Err(Error::input(format!("label `{label}` has no answer words"))
                .help("give it some in the task's `words` table"));
        }
        if let Some(twin) = words.iter().position(|w| w.to_lowercase() == answer.to_lowercase()) {
            return Err(Error::input(format!(
                "labels `{}` and `{label}` have the same answer `{answer}`",
                labels[twin]
            ))
            .help("give them different answers in the task's `words` table"));
        }
        words.push(answer);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    fn prompt(words: &[&str]) -> String {
        Instruction::new(INSTRUCTION, &strings(words)).unwrap().prompt("so good")
    }

    #[test]
    fn the_papers_prompts() {
        assert_eq!(
            prompt(&["Positive", "Negative"]),
            "Classify the sentiment of the sentence to Positive or Negative: so good"
        );
        assert_eq!(
            prompt(&["Positive", "Negative", "Neutral"]),
            "Classify the sentiment of the sentence to Positive, Negative or Neutral: so good"
        );
        assert_eq!(
            prompt(&["A", "B", "C", "D", "E"]),
            "Classify the sentiment of the sentence to A, B, C, D or E: so good"
        );
    }

    #[test]
    fn a_sentence_is_never_a_template() {
        let words = strings(&["A", "B"]);
        let p = Instruction::new("{sentence}\nIs this {labels}? {x y}", &words).unwrap().prompt("{labels} {sentence}");
        assert_eq!(p, "{labels} {sentence}\nIs this A or B? {x y}");
    }

    #[test]
    fn bad_templates() {
        let error = |t: &str| Instruction::new(t, &[]).unwrap_err().message;
        assert!(error("Say {labels}").contains("no place for the sentence"));
        assert!(error("{sentence} {sentence}").contains("more than once"));
        assert!(error("{sentence} {label}").contains("unknown placeholder `{label}`"));
    }

    #[test]
    fn words_default_to_the_capitalised_label() {
        let labels = strings(&["very-negative", "neutral", "开心"]);
        let words = answer_words(&labels, [("neutral", "So so")]).unwrap();
        assert_eq!(words, ["Very negative", "So so", "开心"]);
    }

    #[test]
    fn bad_words() {
        let labels = strings(&["joy", "fear"]);
        let error = |chosen: &[(&str, &str)]| answer_words(&labels, chosen.iter().copied()).unwrap_err();
        assert!(error(&[("anger", "Angry")]).message.contains("`anger`"));
        assert_eq!(error(&[("anger", "Angry")]).help.as_deref(), Some("its labels are: joy, fear"));
        assert!(error(&[("joy", "  ")]).message.contains("no answer words"));
        assert!(error(&[("joy", "fear")]).message.contains("`joy` and `fear` have the same answer `Fear`"));
    }
}
