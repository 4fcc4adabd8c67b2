//! `layouts`: tables, curves and heat maps over any axes, every name looked up.

use super::{
    evaluation_axes::Evaluations,
    figure_options::{FigureOptions, Scalar, Where},
};
use crate::{
    config::{Diagnostic, Span, Spanned, suggest},
    eval::metrics::Metric,
    report::{Axes, AxisLayout, Clash, FigureLayout, Form, Named, Selection, place},
};

/// Looks all names of a layout up, and sees that no cell would hold several evaluations.
///
/// # Errors
/// Every name that nothing has, keys of another form, an axis of curves that isn't one of numbers; else the first clash.
pub fn figure_layout(options: FigureOptions, evaluations: &mut Evaluations) -> Result<FigureLayout, Vec<Diagnostic>> {
    let mut diagnostics = form_diagnostics(&options);
    let only = selection(&options.only, evaluations, &mut diagnostics);
    let shown = |axes: &Axes| only.iter().all(|(axis, values)| axes.get(axis).is_none_or(|v| values.contains(v)));
    let mut axis = |name: &Option<Spanned<String>>| -> Option<AxisLayout> {
        evaluations.axis(name.as_ref()?, shown).map_err(|diagnostic| diagnostics.push(diagnostic)).ok()
    };
    let panels = axis(&options.panels);
    let rows = axis(if options.kind == Form::Curve { &options.lines } else { &options.rows });
    let mut columns = axis(if options.kind == Form::Curve { &options.x } else { &options.columns });
    if let (Form::Curve, Some(x), Some(name)) = (options.kind, &mut columns, &options.x) {
        diagnostics.extend(in_rising_order(x, name.span).err());
    }
    let metrics = match (&options.metric, &options.metrics) {
        (Some(one), _) => vec![one.value],
        (None, Some(several)) => several.value.clone(),
        (None, None) if options.kind == Form::Table => vec![Metric::Accuracy, Metric::MacroF1],
        (None, None) => vec![Metric::Accuracy],
    };
    let (name, title, form) = (options.name.value, options.title, options.kind);
    let layout = FigureLayout { name, title, form, panels, rows, columns, metrics, only };
    if diagnostics.is_empty() {
        diagnostics.extend(place(&layout, &evaluations.in_order()).err().map(|found| clash(&found, options.name.span)));
    }
    if diagnostics.is_empty() { Ok(layout) } else { Err(diagnostics) }
}

/// What is said where several evaluations would be one cell.
pub fn clash(found: &Clash, span: Option<Span>) -> Diagnostic {
    let cell = if found.cell.is_empty() { "one cell".to_owned() } else { format!("the cell {}", found.cell) };
    let evaluations = found.evaluations;
    let Some(first) = found.open.first() else {
        return Diagnostic::new(format!("{evaluations} evaluations with the same axes fall into {cell}"))
            .at(span)
            .help("name the stages that feed the report once, and give each evaluation its own `seed`");
    };
    let open: Vec<String> = found.open.iter().map(|axis| format!("`{axis}`")).collect();
    Diagnostic::new(format!("{evaluations} evaluations fall into {cell}: they differ in {}", open.join(", ")))
        .at(span)
        .help(format!("fix it, `where = {{ {first} = ... }}`, or make it an axis of a layout"))
}

/// The fixed axes with those of their values that evaluations have.
pub fn selection(only: &Where, evaluations: &mut Evaluations, diagnostics: &mut Vec<Diagnostic>) -> Selection {
    let mut selection = Selection::new();
    for (axis, wanted) in only {
        if let Err(diagnostic) = evaluations.know(&Spanned { value: axis.clone(), span: wanted.span }) {
            diagnostics.push(diagnostic);
            continue;
        }
        let known = evaluations.values(axis);
        let mut values = Vec::new();
        for one in wanted.all() {
            match known.iter().find(|value| one.is(value)) {
                Some(value) => values.push((*value).to_owned()),
                None => {
                    let (text, all) = (one.text(), known.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>());
                    let near = matches!(one, Scalar::Text(_)).then(|| suggest(&text, known.iter().copied())).flatten();
                    let help = match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("its values: {}", all.join(", ")),
                    };
                    let message = format!("no evaluation of this report has `{axis} = {text}`");
                    diagnostics.push(Diagnostic::new(message).at(wanted.span).help(help));
                }
            }
        }
        selection.insert(axis.clone(), values);
    }
    selection
}

/// Sorts an axis of numbers.
fn in_rising_order(x: &mut AxisLayout, span: Option<Span>) -> Result<(), Diagnostic> {
    let number = |v: &Named| v.name.parse().ok().filter(|n: &f64| n.is_finite());
    if let Some(word) = x.values.iter().find(|v| number(v).is_none()) {
        return Err(Diagnostic::new(format!("curves need an axis of numbers, and `{}` has `{}`", x.name, word.name))
            .at(span)
            .help("draw a table or a heat map, or fix the other values with `where`"));
    }
    x.values.sort_by(|a, b| number(a).unwrap_or(0.0).total_cmp(&number(b).unwrap_or(0.0)));
    Ok(())
}

/// Keys that a form needs or has no use for, and axes that stand twice.
fn form_diagnostics(options: &FigureOptions) -> Vec<Diagnostic> {
    let (form, needs): (&str, &[&str]) = match options.kind {
        Form::Table => ("table", &["rows"]),
        Form::Curve => ("curve", &["x"]),
        Form::Heatmap => ("heatmap", &["rows", "columns"]),
    };
    let uses: &[&str] = match options.kind {
        Form::Table => &["rows", "columns", "panels", "metrics"],
        Form::Curve => &["x", "lines", "panels", "metric"],
        Form::Heatmap => &["rows", "columns", "panels", "metric"],
    };
    let axes = [
        ("rows", &options.rows),
        ("columns", &options.columns),
        ("x", &options.x),
        ("lines", &options.lines),
        ("panels", &options.panels),
    ];
    let given = axes.iter().filter_map(|(key, axis)| Some((*key, axis.as_ref()?.span)));
    let metric = options.metric.as_ref().map(|m| ("metric", m.span));
    let metrics = options.metrics.as_ref().map(|m| ("metrics", m.span));
    let given: Vec<(&str, Option<Span>)> = given.chain(metric).chain(metrics).collect();
    let mut diagnostics = Vec::new();
    for (key, span) in given.iter().filter(|(key, _)| !uses.contains(key)) {
        let message = format!("`{key}` says nothing in a layout of the kind `{form}`");
        diagnostics.push(Diagnostic::new(message).at(*span).help(format!("its keys are `{}`", uses.join("`, `"))));
    }
    for key in needs.iter().filter(|key| given.iter().all(|(k, _)| k != *key)) {
        diagnostics.push(Diagnostic::new(format!("a layout of the kind `{form}` needs `{key}`")).at(options.name.span));
    }
    if let Some(metrics) = options.metrics.as_ref().filter(|m| m.value.is_empty()) {
        diagnostics.push(Diagnostic::new("a table needs at least one metric").at(metrics.span));
    }
    let names: Vec<&Spanned<String>> = axes.iter().filter_map(|(_, axis)| axis.as_ref()).collect();
    let twice = names.iter().enumerate().filter(|(i, name)| names[..*i].iter().any(|other| other.value == name.value));
    for (_, name) in twice {
        diagnostics
            .push(Diagnostic::new(format!("the axis `{}` is used twice in one layout", name.value)).at(name.span));
    }
    diagnostics
}
