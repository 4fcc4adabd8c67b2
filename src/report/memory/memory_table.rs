//! The files of a table of memory.

use minijinja::{Value, context};

use super::{
    super::{csv, named::Named, template},
    memory_rows::{MemoryLayout, MemoryRow},
    memory_totals::{gib, largest, totals},
};
use crate::base::{error::Result, visible::visible_line};

/// `memory.md` and `memory.csv`.
///
/// # Errors
/// None that data can cause.
pub fn memory_table(layout: &MemoryLayout, rows: &[MemoryRow]) -> Result<Vec<(String, String)>> {
    let line = |text: &str| visible_line(text).into_owned();
    let named = |of: &Named| Named { name: of.name.clone(), title: line(&of.title) };
    let on_line = |row: &MemoryRow| MemoryRow { task: named(&row.task), method: named(&row.method), ..row.clone() };
    let rows: Vec<_> = rows.iter().map(on_line).collect();
    let page = context! {
        title => line(&layout.title),
        model => line(&layout.model),
        parameters => layout.parameters,
        dtype => &layout.dtype,
        budget => gib(layout.budget),
        rows => rows.iter().map(|row| totals(row, layout.budget)).collect::<Vec<Value>>(),
        largest => largest(&rows),
    };
    Ok(vec![("memory.csv".to_owned(), long(&rows)?), ("memory.md".to_owned(), template::render("memory.md", page)?)])
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
    use super::{super::super::named::Named, *};

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
