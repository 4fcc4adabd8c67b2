//! The work of `prepare`: a dataset's files into examples.

use crate::{
    base::error::{IoAt, Result},
    data::{EXAMPLES_FILE, PreparationSpec, Summary, write_examples},
    engine::Context,
};

/// Role of the input with the dataset's files.
pub const RAW: &str = "raw";

/// Writes the examples and all counts.
///
/// # Errors
/// If the files aren't what the recipe says, and where the user asked to stop.
pub(super) fn run(cx: &Context, recipe: &PreparationSpec) -> Result<()> {
    let raw = cx.input(RAW)?;
    let prepared = recipe.prepare(|name| {
        cx.checkpoint_reached()?;
        let path = raw.file(name)?;
        std::fs::read(path).io_at("read", path)
    })?;
    cx.progress.message(&outline(&prepared.summary));
    write_examples(&cx.out.join(EXAMPLES_FILE), &prepared.examples)?;
    prepared.summary.write(&cx.out.join(Summary::FILE))
}

/// The counts in one line.
fn outline(summary: &Summary) -> String {
    let kept: Vec<_> = summary.kept.iter().map(|s| format!("{} {}", s.examples, s.split.name())).collect();
    let dropped: u64 = summary.dropped.values().sum();
    format!(
        "{} rows: {dropped} left out, {} duplicates removed; kept {}",
        summary.rows(),
        summary.duplicates.removed,
        kept.join(", "),
    )
}
