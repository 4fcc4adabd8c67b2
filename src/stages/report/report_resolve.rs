//! What a report shows, from a stage's table: every name looked up, all mistakes at once.

use std::collections::BTreeSet;

use super::{
    choices::choices,
    evaluation_axes::{Evaluations, ZERO_SHOT},
    figure_layouts::{clash, figure_layout, selection},
    figure_options::{FigureOptions, Where},
    report_table::{Figure, Options, PublishedOptions, TableOptions},
};
use crate::{
    config::{self, Diagnostic, Node, Spanned, Spec},
    engine::ResolveContext,
    eval::{bootstrap::Bootstrap, metrics::Metric},
    report::{
        Axes, AxisLayout, FigureLayout, Form, Layout, Named, Publication, PublishedRow, Selection, TableLayout,
        TaskColumns, place,
    },
};

/// Names of files that every report has.
const TAKEN: [&str; 3] = ["README", "index", "results"];

/// Looks every name up, and finds all mistakes at once.
///
/// # Errors
/// Every name that nothing defines, and whatever else is wrong with the options.
pub fn layout(cx: &ResolveContext, options: Options) -> Result<Layout, Vec<Diagnostic>> {
    let (spec, whole) = (cx.spec, &cx.action.params);
    let mut diagnostics = Vec::new();
    let mut named = |kind: &str, name: &Spanned<String>| {
        let title = match spec.definition(kind, name, name.span) {
            Ok(node) => node.get("title").and_then(Node::as_str).unwrap_or(name).to_owned(),
            Err(_) if kind == "method" && name.value == ZERO_SHOT.0 => ZERO_SHOT.1.to_owned(),
            Err(diagnostic) => {
                diagnostics.push(diagnostic);
                String::new()
            }
        };
        Named { name: name.value.clone(), title }
    };
    let methods: Vec<Named> = options.methods.iter().map(|m| named("method", m)).collect();
    let publication = options.publication.as_ref().map(|p| Publication {
        files_replaced: files_replaced(spec, &p.model),
        title: p.title.clone(),
        model: named("model", &p.model),
        answer: p.answer.clone(),
        examples: p.examples.clone(),
    });
    let tables = options.tables.iter().map(|t| TableLayout {
        name: t.name.value.clone(),
        title: t.title.clone(),
        tasks: t.tasks.iter().map(|task| task_columns(spec, t, task, named("task", task))).collect(),
        published: t.published.iter().map(published).collect(),
    });
    let tables: Vec<TableLayout> = tables.collect();
    let choices = choices(spec, &options.choices, whole, &mut diagnostics);
    for (table, options) in tables.iter().zip(&options.tables) {
        published_diagnostics(table, options, &methods, publication.is_some(), &mut diagnostics);
    }
    twice(&options.methods, "method", &mut diagnostics);
    table_diagnostics(&options, &mut diagnostics);
    let baseline = options.baseline.clone().or(options.methods.first().cloned());
    option_diagnostics(&options, baseline.as_ref(), whole, &mut diagnostics);
    let Along { figures, in_tables, axes } =
        along(cx, options.layouts, &options.only, (&methods, &tables), &mut diagnostics).unwrap_or_default();
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    Ok(Layout {
        title: options.title,
        intro: options.intro,
        notes: options.notes,
        methods,
        baseline: baseline.map(|b| b.value).unwrap_or_default(),
        comparison: Bootstrap { samples: options.resamples.value, ..Bootstrap::default() },
        tables,
        publication,
        choices,
        figures,
        in_tables,
        axes,
    })
}

fn task_columns(spec: &Spec, table: &TableOptions, name: &Spanned<String>, task: Named) -> TaskColumns {
    TaskColumns { task, metrics: table.metrics.clone().unwrap_or_else(|| metrics(spec, name)) }
}

/// What a report with layouts, or with tables of some evaluations only, has besides.
#[derive(Default)]
struct Along {
    figures: Vec<FigureLayout>,
    in_tables: Selection,
    axes: Vec<Axes>,
}

/// The layouts along any axes, and a look at the cells of the tables; none where the stage's table doesn't speak of axes.
fn along(
    cx: &ResolveContext,
    layouts: Vec<FigureOptions>,
    only: &Where,
    (methods, tables): (&[Named], &[TableLayout]),
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Along> {
    if layouts.is_empty() && only.is_empty() {
        return None;
    }
    let mut evaluations = Evaluations::of(cx.spec, cx.action);
    let in_tables = selection(only, &mut evaluations, diagnostics);
    let mut figures = Vec::new();
    for layout in layouts {
        match figure_layout(layout, &mut evaluations) {
            Ok(layout) => figures.push(layout),
            Err(found) => diagnostics.extend(found),
        }
    }
    let axes = evaluations.in_order();
    if diagnostics.is_empty() {
        let at = cx.action.params.get("tables").map(|n| n.span);
        let cells = methods_by_tasks(methods, tables, &in_tables, &axes);
        diagnostics.extend(place(&cells, &axes).err().map(|found| clash(&found, at)));
    }
    Some(Along { figures, in_tables, axes })
}

/// All cells of the tables as one figure, to see whether each holds the seeds of one evaluation.
fn methods_by_tasks(methods: &[Named], tables: &[TableLayout], only: &Selection, all: &[Axes]) -> FigureLayout {
    let axis = |name: &str, values: Vec<Named>| Some(AxisLayout { name: name.to_owned(), values });
    let models: BTreeSet<&String> = all.iter().filter_map(|axes| axes.get("model")).collect();
    let models = models.into_iter().map(|m| Named { name: m.clone(), title: m.clone() });
    FigureLayout {
        name: String::new(),
        title: String::new(),
        form: Form::Table,
        panels: axis("model", models.collect()).filter(|axis| !axis.values.is_empty()),
        rows: axis("method", methods.to_vec()),
        columns: axis("task", tables.iter().flat_map(|t| &t.tasks).map(|c| c.task.clone()).collect()),
        metrics: Vec::new(),
        only: only.clone(),
    }
}

/// Names of tables that can't be files, tables named twice, and tables without columns.
fn table_diagnostics(options: &Options, diagnostics: &mut Vec<Diagnostic>) {
    let names = options.tables.iter().map(|t| &t.name).chain(options.layouts.iter().map(|l| &l.name));
    let names: Vec<Spanned<String>> = names.cloned().collect();
    twice(&names, "table", diagnostics);
    for name in &names {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) || TAKEN.iter().any(|t| t.eq_ignore_ascii_case(name)) {
            diagnostics.push(
                Diagnostic::new(format!("`{}` can't name a table's files", name.value)).at(name.span).help(
                    "use lower-case letters, digits, `-` and `_`; `readme`, `index` and `results` are taken, such as `table-2`",
                ),
            );
        }
    }
    for table in &options.tables {
        let name = &table.name;
        twice(&table.tasks, "task", diagnostics);
        if table.tasks.is_empty() || table.metrics.as_ref().is_some_and(Vec::is_empty) {
            diagnostics.push(
                Diagnostic::new(format!("table `{}` has no columns", name.value))
                    .at(name.span)
                    .help("give it at least one task and one metric"),
            );
        }
    }
}

/// Faults of the stage's own keys.
fn option_diagnostics(
    options: &Options,
    baseline: Option<&Spanned<String>>,
    whole: &Node,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let at = |key: &str| whole.get(key).map_or(whole.span, |n| n.span);
    let without_tables = options.tables.is_empty() && !options.layouts.is_empty();
    for (key, empty) in [("methods", options.methods.is_empty()), ("tables", options.tables.is_empty())] {
        if empty && !without_tables {
            diagnostics.push(Diagnostic::new(format!("a report needs {key}")).at(at(key)));
        }
    }
    if options.resamples.value == 0 {
        diagnostics.push(Diagnostic::new("a bootstrap needs at least one resample").at(options.resamples.span));
    }
    if let Some(baseline) = baseline
        && !options.methods.iter().any(|m| m.value == baseline.value)
    {
        diagnostics.push(
            Diagnostic::new(format!("the baseline `{}` is not among the report's methods", baseline.value))
                .at(baseline.span)
                .help("name one of `methods`"),
        );
    }
}

/// Whether a pin of the model's files is given elsewhere than in the model's own table.
fn files_replaced(spec: &Spec, model: &str) -> bool {
    let sources = spec.definition("model", model, None).ok().and_then(|node| node.get("source")?.as_table());
    let is_local = |node: &Node| node.get("local").and_then(Node::as_bool) == Some(true);
    sources.is_some_and(|table| table.values().any(|(_, node)| is_local(node)))
}

/// The columns that a task's own table asks for.
fn metrics(spec: &Spec, task: &Spanned<String>) -> Vec<Metric> {
    spec.definition("task", task, task.span)
        .ok()
        .and_then(|node| config::from_node(node.get("metrics")?).ok())
        .unwrap_or_else(|| vec![Metric::Accuracy, Metric::MacroF1])
}

fn published(row: &PublishedOptions) -> PublishedRow {
    let value = |figure: &Figure| match figure {
        Figure::Percent(percent) => Some(*percent),
        Figure::Missing(_) => None,
    };
    PublishedRow {
        title: row.title.clone(),
        method: row.method.as_ref().map(|m| m.value.clone()),
        values: row.values.value.iter().map(value).collect(),
    }
}

fn published_diagnostics(
    table: &TableLayout,
    options: &TableOptions,
    methods: &[Named],
    publication: bool,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let columns: Vec<String> =
        table.tasks.iter().flat_map(|t| t.metrics.iter().map(|m| format!("{} {}", t.task.title, m.name()))).collect();
    for row in &options.published {
        let values = &row.values;
        if values.value.len() != columns.len() {
            diagnostics.push(
                Diagnostic::new(format!("{} figures for {} columns", values.value.len(), columns.len()))
                    .at(values.span)
                    .help(format!("the columns are {}; write \"-\" where nothing was published", columns.join(", "))),
            );
        }
        for figure in &values.value {
            if let Figure::Percent(percent) = figure
                && !(0.0..=100.0).contains(percent)
            {
                diagnostics.push(Diagnostic::new(format!("{percent} is no percentage")).at(values.span));
            }
        }
        if let Some(method) = &row.method
            && !methods.iter().any(|m| m.name == method.value)
        {
            let names: Vec<_> = methods.iter().map(|m| m.name.as_str()).collect();
            diagnostics.push(
                Diagnostic::new(format!("`{}` is not among the report's methods", method.value))
                    .at(method.span)
                    .help(format!("methods: {}", names.join(", "))),
            );
        }
        if !publication {
            diagnostics.push(
                Diagnostic::new("published rows need a `publication` to be copied from").at(values.span).help(
                    "add `publication = { title = ..., model = ..., answer = ..., examples = { TASK = { train = ..., test = ... } } }`",
                ),
            );
        }
    }
}

fn twice(names: &[Spanned<String>], what: &str, diagnostics: &mut Vec<Diagnostic>) {
    let mut seen = BTreeSet::new();
    for name in names.iter().filter(|n| !seen.insert(n.value.as_str())) {
        diagnostics.push(Diagnostic::new(format!("the {what} `{}` is listed twice", name.value)).at(name.span));
    }
}
