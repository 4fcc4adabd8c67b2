//! A chat of one turn: the ids of its prompt and of its answers.

use std::collections::BTreeSet;

use super::{
    chat_template::Template,
    rendering::{self, Rendered},
};
use crate::{
    base::error::{Error, Result},
    data::tokenizer::{PretrainedTokenizer, Tokenizer, TokenizerInput},
};

/// A message and an answer of no importance.
const SAMPLE: &str = "x";

/// A chat of one turn.
pub struct Chat<'a> {
    tokenizer: &'a dyn Tokenizer,
    template: Template<'a>,
    /// Tokens that only the template may write.
    guarded: BTreeSet<u32>,
    /// Markers of a prompt: the same for every message.
    skeleton: Vec<u32>,
    /// A prompt around [`SAMPLE`].
    sample: Rendered,
    /// What the template writes between the prompt and the answer's first character.
    lead: String,
    /// What it writes behind the answer, up to the end of the token that ends it.
    tail: String,
    /// An answer is encoded as a text of its own.
    separate_answers: bool,
    /// The id of that token.
    end: u32,
}

impl<'a> Chat<'a> {
    /// With `template`, or else the model's own; `date` is what a template that asks for it takes as today's.
    ///
    /// # Errors
    /// If there is no template, if it can't be rendered or doesn't show the message, or if nothing tells which token ends
    /// an answer.
    pub fn new(model: &'a PretrainedTokenizer, template: Option<&'a str>, date: Option<&str>) -> Result<Self> {
        let template = template.or(model.chat_template.as_deref()).ok_or_else(|| {
            Error::input("the model's files have no chat template").help(
                "give one as `chat_template` in the model's table; for a model that isn't made for chats, for example \
                 '{{ messages[0].content }}\\nAnswer: {% if messages|length > 1 %}{{ messages[1].content }}{% endif %}'",
            )
        })?;
        let template = Template::new(template, &model.named, date)?;
        let sample = rendering::render(&template, &[("user", SAMPLE)], 0, true)?;
        if sample.content.is_empty() {
            return Err(unseen());
        }
        let conversation = rendering::render(&template, &[("user", SAMPLE), ("assistant", SAMPLE)], 1, false);
        // A template may refuse to show answers; then there is nothing to learn from it.
        let answered = conversation.ok().filter(|whole| !whole.content.is_empty());
        let mut chat = Self {
            tokenizer: model.tokenizer.as_ref(),
            template,
            guarded: model.tokenizer.added().control().clone(),
            skeleton: Vec::new(),
            sample,
            lead: String::new(),
            tail: String::new(),
            separate_answers: model.separate_answers,
            end: 0,
        };
        chat.skeleton = chat.markers(&chat.sample);
        let written: Vec<u32> = answered.iter().flat_map(|whole| chat.markers(whole)).collect();
        chat.guarded.extend(written.iter().chain(&chat.skeleton));
        let end = answered.and_then(|whole| chat.learn(&whole));
        chat.end = end.or_else(|| model.eos()).ok_or_else(|| {
            Error::input("nothing tells which token ends an answer")
                .help("let the chat template close an assistant's message with a control token, or name an `eos_token`")
        })?;
        Ok(chat)
    }

    /// Learns what stands around an answer; gives the control token behind it.
    fn learn(&mut self, whole: &Rendered) -> Option<u32> {
        let answer = whole.content.first()?;
        let (before, after) = (&whole.text[..answer.start], &whole.text[answer.end..]);
        self.lead = before.strip_prefix(self.sample.text.as_str()).unwrap_or_default().to_owned();
        let (id, end) = self.tokenizer.added().first(after, |id| self.guarded.contains(&id))?;
        let name = &self.tokenizer.added().get(id)?.content;
        // What stands before it is the answer's own text.
        if !after[..end - name.len()].trim().is_empty() {
            return None;
        }
        self.tail = after[..end].to_owned();
        Some(id)
    }

    /// The markers that the template itself wrote.
    fn markers(&self, rendered: &Rendered) -> Vec<u32> {
        let names = rendered.outside().flat_map(|text| self.tokenizer.added().named_in(text));
        names.filter(|id| self.is_marker(*id)).collect()
    }

    /// Whether a token that the template writes is one for templates alone: it isn't, where it is a word or a blank.
    fn is_marker(&self, id: u32) -> bool {
        let token = self.tokenizer.added().get(id);
        token.is_some_and(|token| token.content.chars().any(|c| !c.is_alphanumeric() && !c.is_whitespace()))
    }

    fn render_prompt(&self, message: &str) -> Result<Rendered> {
        rendering::render(&self.template, &[("user", message)], 0, true)
    }

    fn encode(&self, rendered: &Rendered) -> Result<Vec<u32>> {
        self.tokenizer.encode(&TokenizerInput::new(&rendered.text, rendered.content.clone(), &self.guarded))
    }

    /// The prompt as text, up to the place where the answer begins.
    ///
    /// # Errors
    /// If the template can't be rendered, or does something with the message that can't be followed.
    pub fn text(&self, message: &str) -> Result<String> {
        Ok(self.render_prompt(message)?.text)
    }

    /// Ids of the prompt, up to the place where the answer begins.
    ///
    /// # Errors
    /// If the template doesn't show `message`, or if the message changes which control tokens the template writes.
    pub fn prompt(&self, message: &str) -> Result<Vec<u32>> {
        let rendered = self.render_prompt(message)?;
        if rendered.content.is_empty() && !super::python::strip(message).is_empty() {
            return Err(unseen());
        }
        // Where nothing is content, nothing tells the template's text from the rest.
        if !rendered.content.is_empty() && self.markers(&rendered) != self.skeleton {
            return Err(Error::input(format!(
                "the chat template writes other control tokens around this text: {message}"
            )));
        }
        self.encode(&rendered)
    }

    /// Ids of an answer as they follow a prompt, without the token that ends it.
    ///
    /// # Errors
    /// If the answer can't be encoded.
    pub fn answer(&self, words: &str) -> Result<Vec<u32>> {
        if self.separate_answers {
            return self.encode(&self.behind("", words, ""));
        }
        let prompt = self.encode(&self.sample)?;
        let whole = self.encode(&self.behind(&self.sample.text, words, &self.tail))?;
        // Where the answer would melt into the prompt's last token, it is what a model can write after that token.
        let mut ids = match whole.strip_prefix(prompt.as_slice()) {
            Some(rest) => rest.to_vec(),
            None => self.continued(words)?,
        };
        if !self.tail.is_empty() && ids.last() == Some(&self.end) {
            ids.pop();
        }
        Ok(ids)
    }

    /// An answer behind a prompt's text, which is the template's own.
    fn behind(&self, prompt: &str, words: &str, tail: &str) -> Rendered {
        let start = prompt.len() + self.lead.len();
        let content = std::iter::once(start..start + words.len()).collect();
        let mut content: Vec<std::ops::Range<usize>> = content;
        if !prompt.is_empty() {
            content.splice(0..0, self.sample.content.clone());
        }
        Rendered { text: format!("{prompt}{}{words}{tail}", self.lead), content }
    }

    /// An answer by itself, but not as the beginning of a text.
    fn continued(&self, words: &str) -> Result<Vec<u32>> {
        let line = Rendered { text: "\n".to_owned(), content: Vec::new() };
        let first = self.encode(&line)?;
        let mut alone = self.behind("", words, &self.tail);
        let ids = self.encode(&alone)?;
        alone.text.insert(0, '\n');
        alone.content.iter_mut().for_each(|q| *q = q.start + 1..q.end + 1);
        Ok(self.encode(&alone)?.strip_prefix(first.as_slice()).map_or(ids, <[u32]>::to_vec))
    }

    /// The token that ends an answer.
    pub fn end(&self) -> u32 {
        self.end
    }
}

fn unseen() -> Error {
    Error::input("the chat template doesn't show the model the message")
        .help("give one as `chat_template` in the model's table that writes `messages[0].content`")
}
