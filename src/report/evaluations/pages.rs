//! The files of a report of evaluations. The HTML page needs nothing but a browser: no script, no request, light and dark.

use minijinja::{Value, context, value::Serde};

use super::{
    super::template::render,
    document::Report,
    figure_document::Figure,
    figure_layout::Form,
    figure_plots, plots, result_csv,
    sentences::{contrast_method, dataset_lines, figure_lines, setbacks, verdict_lines},
};
use crate::base::error::Result;

impl Report {
    /// All files of the report: name and content, in alphabetical order.
    ///
    /// # Errors
    /// None that data can cause.
    pub fn files(&self) -> Result<Vec<(String, String)>> {
        let page = page(self)?;
        let mut files = vec![
            ("README.md".to_owned(), render("README.md", page.clone())?),
            ("index.html".to_owned(), render("index.html", page)?),
            ("results.csv".to_owned(), result_csv::results(self)?),
        ];
        for table in &self.tables {
            files.push((format!("{}.md", table.name), render("table.md", context! { table => Serde(table) })?));
            files.push((format!("{}.csv", table.name), result_csv::table(table)?));
        }
        for figure in &self.figures {
            let page = context! { figure => Serde(figure), lines => figure_lines(figure) };
            files.push((format!("{}.md", figure.name), render("figure.md", page)?));
            files.push((format!("{}.csv", figure.name), result_csv::figure(figure)?));
            files.extend(drawing(figure)?.map(|svg| (format!("{}.svg", figure.name), svg)));
        }
        files.sort();
        Ok(files)
    }
}

/// What both pages show.
fn page(report: &Report) -> Result<Value> {
    let contrasts = report.contrasts.iter().map(|c| {
        context! { task => &c.task.title, method => contrast_method(c), tests => Serde(&c.tests), kind => Serde(c.verdict), verdict => c.verdict.text() }
    });
    let contrasts: Vec<Value> = contrasts.collect();
    let datasets = report.datasets.iter().map(|d| context! { d => Serde(d), lines => dataset_lines(d) });
    let datasets: Vec<Value> = datasets.collect();
    let losses: Vec<Value> =
        report.tasks.iter().map(|t| inline("losses.svg", plots::losses(t))).collect::<Result<_>>()?;
    let figures = report.figures.iter().map(|figure| {
        let drawing = drawing(figure)?.map(Value::from_safe_string);
        Ok(context! { figure => Serde(figure), lines => figure_lines(figure), drawing })
    });
    let figures: Vec<Value> = figures.collect::<Result<_>>()?;
    Ok(context! {
        report => Serde(report),
        contrasts,
        datasets,
        losses,
        figures,
        overview => inline("overview.svg", plots::overview(report))?,
        setbacks => setbacks(report),
        verdicts => verdict_lines(report),
    })
}

/// The picture of a figure; none of a table.
fn drawing(figure: &Figure) -> Result<Option<String>> {
    let drawn = match figure.form {
        Form::Table => return Ok(None),
        Form::Curve => render("curve.svg", figure_plots::curves(figure)),
        Form::Heatmap => render("heatmap.svg", figure_plots::heatmap(figure)),
    };
    drawn.map(Some)
}

/// A plot as one line of HTML; nothing where there is nothing to draw.
fn inline(template: &str, plot: Option<Value>) -> Result<Value> {
    let drawn = plot.map(|plot| render(template, plot)).transpose()?.unwrap_or_default();
    Ok(Value::from_safe_string(drawn.lines().collect()))
}
