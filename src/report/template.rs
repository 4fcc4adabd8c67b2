//! The templates beside this file, and the filters that write figures in them.

use minijinja::{AutoEscape, Environment, HtmlEscape, UndefinedBehavior, Value, syntax::SyntaxConfig, value::Serde};

use super::{format, markdown_table::aligned, text::markdown_cell};
use crate::{
    base::error::{Error, Result},
    eval::bootstrap::Interval,
};

/// Name and text of every template. What is shown in `.html` and `.svg` is escaped.
const TEMPLATES: [(&str, &str); 14] = [
    ("README.md", include_str!("templates/README.md.j2")),
    ("index.html", include_str!("templates/index.html.j2")),
    ("style.css", include_str!("templates/style.css")),
    ("figures.md", include_str!("templates/figures.md.j2")),
    ("table.md", include_str!("templates/table.md.j2")),
    ("overview.svg", include_str!("templates/overview.svg.j2")),
    ("losses.svg", include_str!("templates/losses.svg.j2")),
    ("datasets.md", include_str!("templates/datasets.md.j2")),
    ("figure.md", include_str!("templates/figure.md.j2")),
    ("figure-body.md", include_str!("templates/figure-body.md.j2")),
    ("curve.svg", include_str!("templates/curve.svg.j2")),
    ("heatmap.svg", include_str!("templates/heatmap.svg.j2")),
    ("plot.css", include_str!("templates/plot.css")),
    ("memory.md", include_str!("templates/memory.md.j2")),
];

/// The template of that name, filled in.
///
/// A line with nothing but a tag leaves no trace, and a missing value is an error.
///
/// # Errors
/// None that data can cause: a template that doesn't fit what it is given.
pub fn render(name: &str, context: Value) -> Result<String> {
    let filled = environment()?.get_template(name).and_then(|template| template.render(context));
    filled.map_err(|e| Error::internal(format!("{name}: {e:#}")))
}

fn environment() -> Result<Environment<'static>> {
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .map_err(Error::internal)?;
    let mut env = Environment::new();
    env.set_syntax(syntax);
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|name| {
        if name.ends_with(".html") || name.ends_with(".svg") { AutoEscape::Html } else { AutoEscape::None }
    });
    env.add_filter("percent", format::percent);
    env.add_filter("points", format::points);
    env.add_filter("p_value", format::p_value);
    env.add_filter("count", format::count);
    env.add_filter("plural", |n: usize, noun: String| format::plural(n, &noun));
    env.add_filter("listed", |items: Vec<String>| format::list(&items));
    env.add_filter("interval", |Serde(i): Serde<Interval>| format::interval(i));
    env.add_filter("difference_interval", |Serde(i): Serde<Interval>| format::difference_interval(i));
    env.add_filter("inline", |text: String| inline(&text));
    env.add_filter("cell", |text: String| markdown_cell(&text));
    env.add_filter("aligned", |table: String| aligned(&table));
    env.add_filter("px", |length: f64| format!("{length:.1}"));
    for (name, text) in TEMPLATES {
        env.add_template(name, text).map_err(|e| Error::internal(format!("{name}: {e:#}")))?;
    }
    Ok(env)
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
