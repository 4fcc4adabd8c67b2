//! One page that needs nothing but a browser: no script, no request, light and dark.

use minijinja::{AutoEscape, Environment, HtmlEscape, UndefinedBehavior, Value, context};
use serde::de::DeserializeOwned;

use super::{
    build::Report,
    format,
    markdown::{contrast_method, dataset_lines, setbacks, verdict_lines},
    svg,
};
use crate::error::{Error, Result};

/// A template's value as the type that a formatter needs.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, minijinja::Error> {
    T::deserialize(value)
}

/// Plain text with `code` in backticks.
fn inline(text: &str) -> Value {
    let mut out = String::new();
    for (i, part) in text.split('`').enumerate() {
        let escaped = HtmlEscape(part).to_string();
        out.push_str(&if i % 2 == 1 { format!("<code>{escaped}</code>") } else { escaped });
    }
    Value::from_safe_string(out)
}

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.set_keep_trailing_newline(true);
    env.add_filter("percent", format::percent);
    env.add_filter("points", format::points);
    env.add_filter("p_value", format::p_value);
    env.add_filter("count", format::count);
    env.add_filter("interval", |v: Value| typed(v).map(format::interval));
    env.add_filter("difference_interval", |v: Value| typed(v).map(format::difference_interval));
    env.add_filter("inline", |text: String| inline(&text));
    env
}

pub(super) fn page(report: &Report) -> Result<String> {
    let curves: Vec<_> = report.tasks.iter().map(|t| Value::from_safe_string(svg::curves(t))).collect();
    let contrasts: Vec<_> = report
        .contrasts
        .iter()
        .map(|c| {
            context! { task => c.task.title, method => contrast_method(c), outcome => c.outcome, kind => c.verdict, verdict => c.verdict.text() }
        })
        .collect();
    let datasets: Vec<_> = report.datasets.iter().map(|d| context! { d, lines => dataset_lines(d) }).collect();
    environment()
        .render_named_str(
            "index.html",
            include_str!("templates/index.html.j2"),
            context! {
                report,
                curves,
                contrasts,
                datasets,
                style => Value::from_safe_string(include_str!("templates/style.css").to_owned()),
                overview => Value::from_safe_string(svg::overview(report)),
                setbacks => setbacks(report),
                verdicts => verdict_lines(report),
            },
        )
        .map_err(|e| Error::internal(format!("index.html: {e:#}")))
}
