//! One page that needs nothing but a browser: no script, no request, light and dark.

use minijinja::{Environment, HtmlEscape, Value, context, value::Serde};

use super::{
    evaluations::Report,
    format,
    markdown::{contrast_method, dataset_lines, setbacks, verdict_lines},
    svg, template,
};
use crate::{
    base::error::{Error, Result},
    eval::bootstrap::Interval,
};

/// Plain text with `code` in backticks.
fn inline(text: &str) -> Value {
    let mut out = String::new();
    for (i, part) in text.split('`').enumerate() {
        let escaped = HtmlEscape(part).to_string();
        out.push_str(&if i % 2 == 1 { format!("<code>{escaped}</code>") } else { escaped });
    }
    Value::from_safe_string(out)
}

fn environment() -> Result<Environment<'static>> {
    let mut env = template::environment()?;
    env.add_filter("percent", format::percent);
    env.add_filter("points", format::points);
    env.add_filter("p_value", format::p_value);
    env.add_filter("count", format::count);
    env.add_filter("interval", |Serde(i): Serde<Interval>| format::interval(i));
    env.add_filter("difference_interval", |Serde(i): Serde<Interval>| format::difference_interval(i));
    env.add_filter("inline", |text: String| inline(&text));
    Ok(env)
}

pub(super) fn page(report: &Report) -> Result<String> {
    let curves: Vec<_> = report.tasks.iter().map(|t| Value::from_safe_string(svg::curves(t))).collect();
    let contrasts: Vec<_> = report
        .contrasts
        .iter()
        .map(|c| {
            context! { task => &c.task.title, method => contrast_method(c), tests => Serde(&c.tests), kind => Serde(c.verdict), verdict => c.verdict.text() }
        })
        .collect();
    let datasets: Vec<_> =
        report.datasets.iter().map(|d| context! { d => Serde(d), lines => dataset_lines(d) }).collect();
    environment()?
        .render_named_str(
            "index.html",
            include_str!("templates/index.html.j2"),
            context! {
                report => Serde(report),
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
