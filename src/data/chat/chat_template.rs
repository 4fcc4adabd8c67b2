//! A chat template, with limits on what it may take and the date that it may ask for.

use std::{borrow::Cow, collections::BTreeMap};

use chrono::{NaiveDate, NaiveDateTime};
use minijinja::{
    Environment, ErrorKind, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, Rest},
};

use super::{generation_tag, python};
use crate::base::error::{Error, Result};

const NAME: &str = "chat template";

/// Steps that a template may take for a short conversation; 64 bytes of text count as one more. Real templates take some
/// hundreds.
const FUEL: u64 = 20_000;

/// Bytes of a conversation that those steps are meant for; longer ones get one more for each byte.
const SHORT: usize = 8 << 10;

/// Macros in macros.
const RECURSION: usize = 64;

/// What the reference calls `strftime_now`.
const DATE: &str = "strftime_now";

/// A message: role and content.
pub type Message<'a> = (&'a str, &'a str);

/// A template with all that it can see but the messages.
pub struct Template<'a> {
    source: &'a str,
    named: &'a BTreeMap<String, String>,
    environment: Environment<'static>,
}

impl<'a> Template<'a> {
    /// `named`: control tokens by the names that templates know. `date`: what a template that asks for it takes as today's.
    ///
    /// # Errors
    /// If the template can't be read, or if `date` is none.
    pub fn new(source: &'a str, named: &'a BTreeMap<String, String>, date: Option<&str>) -> Result<Self> {
        let date = date.map(parse_date).transpose()?;
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| unusable(&e))?);
        environment.set_fuel(Some(FUEL + source.len() as u64));
        environment.set_recursion_limit(RECURSION);
        environment.set_unknown_method_callback(python::method);
        environment.add_filter("tojson", |value: Value, args: Rest<Value>, named: Kwargs| {
            python::tojson(&value, &args, &named)
        });
        environment.add_filter("trim", |text: Cow<'_, str>, chars: Option<Cow<'_, str>>| {
            python::trim(&text, chars.as_deref())
        });
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function(DATE, move |format: String| today(date, &format));
        environment.add_template_owned(NAME, generation_tag::plain(source)).map_err(|e| unusable(&e))?;
        Ok(Self { source, named, environment })
    }

    /// As the author wrote it.
    pub fn source(&self) -> &'a str {
        self.source
    }

    /// # Errors
    /// If the template fails, refuses the conversation, or takes more than a chat template needs.
    pub fn render(&self, messages: &[Message<'_>], add_generation_prompt: bool) -> Result<String> {
        let message = |(role, content): &Message<'_>| Value::from_pairs([("role", *role), ("content", *content)]);
        let mut variables: BTreeMap<&str, Value> =
            self.named.iter().map(|(name, token)| (name.as_str(), Value::from(token.as_str()))).collect();
        variables.insert("messages", messages.iter().map(message).collect());
        variables.insert("add_generation_prompt", Value::from(add_generation_prompt));
        // The reference always defines these two.
        variables.insert("tools", Value::from(()));
        variables.insert("documents", Value::from(()));
        let len: usize = messages.iter().map(|(_, content)| content.len()).sum();
        let environment = match len.checked_sub(SHORT) {
            None => Cow::Borrowed(&self.environment),
            Some(more) => {
                let mut larger = self.environment.clone();
                larger.set_fuel(Some(FUEL + (self.source.len() + more) as u64));
                Cow::Owned(larger)
            }
        };
        let template = environment.get_template(NAME).map_err(|e| unusable(&e))?;
        template.render(Value::from_pairs(variables)).map_err(|e| unusable(&e))
    }
}

fn parse_date(text: &str) -> Result<NaiveDateTime> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    let moment = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S").ok();
    day.or_else(moment).ok_or_else(|| {
        Error::input(format!("`chat_date` is `{text}`, which is no date"))
            .help("write it like 2024-07-26 or 2024-07-26T09:30:00")
    })
}

fn today(date: Option<NaiveDateTime>, format: &str) -> Result<String, minijinja::Error> {
    use std::fmt::Write;
    let wrong = |what: String| minijinja::Error::new(ErrorKind::InvalidOperation, what);
    let date = date.ok_or_else(|| wrong(format!("{DATE}: it asks for today's date")))?;
    let mut out = String::new();
    write!(out, "{}", date.format(format)).map_err(|_| wrong(format!("{DATE}: `{format}` is no format of a date")))?;
    Ok(out)
}

fn unusable(e: &minijinja::Error) -> Error {
    let text = e.to_string();
    if e.kind() == ErrorKind::OutOfFuel {
        return Error::input("the chat template doesn't come to an end, or writes far more than a chat template does")
            .help("give another one as `chat_template` in the model's table");
    }
    let error = Error::input(format!("the chat template can't be used: {text}"));
    match text.contains("asks for today's date") {
        // A date of the clock would give other prompts tomorrow.
        true => error.help("state the date that it is to take as `chat_date = \"2024-07-26\"` in the model's table"),
        false => error.help("give another one as `chat_template` in the model's table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, date: Option<&str>) -> Result<String> {
        let named = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
        Template::new(source, &named, date)?.render(&[("user", "Don't <b>\u{e9}</b> & \"x\"\n")], true)
    }

    fn text(source: &str) -> String {
        render(source, None).unwrap()
    }

    /// What Python's `jinja2` writes with the reference's settings.
    #[test]
    fn writes_as_the_reference_does() {
        for (source, expected) in [
            ("{{ messages[0].content | tojson }}", r#""Don't <b>é</b> & \"x\"\n""#),
            ("{{ messages[0].content | tojson(ensure_ascii=true) }}", r#""Don't <b>\u00e9</b> & \"x\"\n""#),
            ("{{ {'b': [1, 2.5, none, true], 'a': {}} | tojson }}", r#"{"b": [1, 2.5, null, true], "a": {}}"#),
            (
                "{{ {'b': [1], 'a': []} | tojson(indent=2, sort_keys=true) }}",
                "{\n  \"a\": [],\n  \"b\": [\n    1\n  ]\n}",
            ),
            ("{{ {'a': [1, 2]} | tojson(separators=(',', ':')) }}", r#"{"a":[1,2]}"#),
            (
                "{{ none }} {{ true }} {{ ['a', \"it's\", none] }} {{ {'a': false} }}",
                "None True ['a', \"it's\", None] {'a': False}",
            ),
            ("{{ tools is defined }} {{ tools is none }} {{ x is defined }}", "True True False"),
            ("a{%- generation -%} {{ bos_token }} {%- endgeneration %} b", "a<s> b"),
            ("{% generation %}\nx\n{% endgeneration %}\ny", "x\ny"),
            ("{{ '\x1c x\u{a0}\x1f'.strip() }}|{{ '\x1e x ' | trim }}", "x|x"),
            ("{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"),
        ] {
            assert_eq!(text(source), expected, "{source}");
        }
    }

    #[test]
    fn the_date_is_the_pipeline_s() {
        let source = "{{ strftime_now('%d %b %Y') }}";
        assert_eq!(render(source, Some("2024-07-26")).unwrap(), "26 Jul 2024");
        assert_eq!(render("{{ strftime_now('%H:%M') }}", Some("2024-07-26T09:30:00")).unwrap(), "09:30");
        assert!(render(source, None).unwrap_err().help.unwrap().contains("chat_date"));
        assert!(render("no date", None).is_ok());
        assert!(render("{{ strftime_now('%Q') }}", Some("2024-07-26")).unwrap_err().message.contains("no format"));
        assert!(render("x", Some("26.7.24")).unwrap_err().message.contains("no date"));
    }

    #[test]
    fn endless_deep_and_large_templates_are_refused() {
        for source in [
            "{% for i in range(90000) %}{% for j in range(90000) %}x{% endfor %}{% endfor %}",
            "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s|length }}",
            "{{ 'x' * 10000000000 }}",
            "{{ range(10000000000) | list }}",
            "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
            "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson }}",
            "{% set x %}{{ 'ab' | center(100000000) }}{% endset %}{{ x }}",
            "{{ 'a'.ljust(100000000000) }}",
            "{{ [1] * 1000000000 }}",
        ] {
            let e = render(source, None).unwrap_err();
            assert!(e.message.contains("chat template") && e.help.is_some(), "{source}: {e}");
        }
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(20_000), ")".repeat(20_000));
        assert!(render(&deep, None).is_err());
    }
}
