//! What training and evaluation hold in memory, as a table.

use std::fmt::Write;

use super::{
    csv,
    format::{count, list},
    layout::Named,
    markdown::{Align, aligned},
};
use crate::base::{error::Result, visible::visible_line};

/// What all rows have in common.
#[derive(Debug, Clone)]
pub struct MemoryLayout {
    pub title: String,
    /// The model's title.
    pub model: String,
    pub parameters: u64,
    /// What its matrices are kept in.
    pub dtype: String,
    /// Bytes of the device.
    pub budget: u64,
}

/// A method on a task. Parts are what memory is held for, and bytes.
#[derive(Debug, Clone)]
pub struct MemoryRow {
    pub task: Named,
    pub method: Named,
    /// Tokens.
    pub longest_prompt: usize,
    /// Tokens that all training prompts begin with.
    pub shared: usize,
    /// Prompts whose sentence was cut.
    pub cut: usize,
    /// Tokens of the largest row that a training step computes.
    pub training_row: usize,
    /// None where nothing is trained.
    pub training: Option<Vec<(&'static str, u64)>>,
    pub evaluation: Vec<(&'static str, u64)>,
}

fn total(parts: &[(&'static str, u64)]) -> u64 {
    parts.iter().map(|(_, bytes)| bytes).sum()
}

/// `12.34`, in GiB; of less than a hundredth as many digits as it takes.
fn gib(bytes: u64) -> String {
    let value = bytes as f64 / (1u64 << 30) as f64;
    let digits = (2..12).find(|digits| bytes == 0 || value >= 0.1f64.powi(*digits)).unwrap_or(12);
    format!("{value:.prec$}", prec = digits as usize)
}

/// `memory.md` and `memory.csv`.
pub fn memory_table(layout: &MemoryLayout, rows: &[MemoryRow]) -> Result<Vec<(String, String)>> {
    let line = |text: &str| visible_line(text).into_owned();
    let named = |of: &Named| Named { name: of.name.clone(), title: line(&of.title) };
    let on_line = |row: &MemoryRow| MemoryRow { task: named(&row.task), method: named(&row.method), ..row.clone() };
    let rows: Vec<_> = rows.iter().map(on_line).collect();
    let layout = MemoryLayout { title: line(&layout.title), model: line(&layout.model), ..layout.clone() };
    Ok(vec![("memory.csv".to_owned(), long(&rows)?), ("memory.md".to_owned(), page(&layout, &rows))])
}

fn page(layout: &MemoryLayout, rows: &[MemoryRow]) -> String {
    let mut out = format!("# {}\n\n", layout.title);
    let _ = writeln!(
        out,
        "{}: {} parameters, kept in {}. GiB at the worst moment; in training that is the batch with the longest prompts. Lengths\n\
         are those of the tokenised data.\n",
        layout.model,
        count(layout.parameters),
        layout.dtype
    );
    let header = [
        "Task",
        "Method",
        "Longest prompt",
        "Shared beginning",
        "Prompts cut",
        "Largest row",
        "Training",
        "Evaluation",
    ];
    let header: Vec<String> =
        header.map(str::to_owned).into_iter().chain([format!("In {} GiB", gib(layout.budget))]).collect();
    let body: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let trained = row.training.is_some();
            let peak = row.training.as_deref().map_or(0, total).max(total(&row.evaluation));
            vec![
                row.task.title.clone(),
                row.method.title.clone(),
                count(row.longest_prompt as u64),
                count(row.shared as u64),
                count(row.cut as u64),
                if trained { count(row.training_row as u64) } else { "-".to_owned() },
                row.training.as_deref().map_or("-".to_owned(), |parts| gib(total(parts))),
                gib(total(&row.evaluation)),
                if peak <= layout.budget { "fits" } else { "**too large**" }.to_owned(),
            ]
        })
        .collect();
    use Align::{Left, Right};
    let align = [Left, Left, Right, Right, Right, Right, Right, Right, Left];
    out.push_str(&aligned(&header, &align, &body));
    let _ = writeln!(out, "\n- Lengths and rows are in tokens. `memory.csv` has every part in bytes.");
    if let Some(worst) = rows.iter().filter(|r| r.training.is_some()).max_by_key(|r| r.training.as_deref().map(total)) {
        let parts = worst.training.iter().flatten().map(|(what, bytes)| format!("{what} {}", gib(*bytes)));
        let parts: Vec<_> = parts.collect();
        let _ = writeln!(out, "- The largest, {} on {}: {}.", worst.method.title, worst.task.title, list(&parts));
    }
    out
}

/// A line for every part.
fn long(rows: &[MemoryRow]) -> Result<String> {
    let header = ["task", "method", "work", "part", "bytes"].map(str::to_owned).to_vec();
    let lines = rows.iter().flat_map(|row| {
        let works = [("train", row.training.as_deref().unwrap_or_default()), ("evaluate", &row.evaluation)];
        works.into_iter().flat_map(move |(work, parts)| {
            parts.iter().map(move |(part, bytes)| {
                vec![
                    row.task.name.clone(),
                    row.method.name.clone(),
                    work.to_owned(),
                    (*part).to_owned(),
                    bytes.to_string(),
                ]
            })
        })
    });
    csv::write(std::iter::once(header).chain(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_size_is_shown_as_nothing() {
        for (bytes, text) in
            [(0, "0.00"), (12 << 30, "12.00"), (40 << 20, "0.04"), (5 << 20, "0.005"), (1, "0.0000000009")]
        {
            assert_eq!(gib(bytes), text);
        }
    }

    #[test]
    fn rows_say_what_fits() {
        let named = |name: &str| Named { name: name.to_owned(), title: name.to_uppercase() };
        let row = |method: &str, training: Option<u64>| MemoryRow {
            task: named("sst-2"),
            method: named(method),
            longest_prompt: 90,
            shared: 30,
            cut: 2,
            training_row: 1100,
            training: training.map(|n| vec![("weights", 12 << 30), ("activations", n << 30)]),
            evaluation: vec![("weights", 12 << 30)],
        };
        let layout = MemoryLayout {
            title: "Memory".to_owned(),
            model: "M".to_owned(),
            parameters: 6_243_584_000,
            dtype: "bf16".to_owned(),
            budget: 24 << 30,
        };
        let files = memory_table(&layout, &[row("none", None), row("lora", Some(10)), row("full", Some(40))]).unwrap();
        insta::assert_snapshot!("memory.md", files[1].1);
        assert_eq!(files[0].1.lines().count(), 1 + 1 + 3 + 3);
        assert!(files[0].1.contains("sst-2,lora,train,activations,10737418240\n"), "{}", files[0].1);
    }
}
