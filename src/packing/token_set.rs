//! The tokens artifact, as training and evaluation read it.

use std::path::Path;

use polars::prelude::DataFrame;

use super::batch::{Answers, Sample};
use crate::{
    base::error::{At, Error, IoAt, Result},
    data::{TokensInfo, frame},
};

/// All prompts of a task, and what they have in common.
#[derive(Debug)]
pub struct TokenSet {
    pub info: TokensInfo,
    pub answers: Answers,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    split: String,
    truncated: bool,
    sample: Sample,
}

impl TokenSet {
    /// Reads `tokens.parquet` and `tokens.json`.
    ///
    /// # Errors
    /// If a file can't be read, a column is missing, a prompt is empty, or a label isn't among the answers.
    pub fn read(table: &Path, info: &Path) -> Result<Self> {
        let info: TokensInfo = serde_json::from_slice(&std::fs::read(info).io_at("read", info)?)
            .map_err(|e| Error::input(format!("{}: {e}", info.display())))?;
        let answers = Answers { labels: info.labels.iter().map(|l| l.ids.clone()).collect(), end: info.end_id };
        let frame = frame::read_parquet(table)?;
        let rows = rows(&frame, answers.labels.len()).at(table.display())?;
        Ok(Self { info, answers, rows })
    }

    /// The samples of a split, in the file's order.
    ///
    /// # Errors
    /// If the split is empty.
    pub fn split(&self, name: &str) -> Result<Vec<Sample>> {
        let samples: Vec<_> = self.rows.iter().filter(|r| r.split == name).map(|r| r.sample.clone()).collect();
        if samples.is_empty() {
            let mut have: Vec<&str> = self.rows.iter().map(|r| r.split.as_str()).collect();
            have.sort_unstable();
            have.dedup();
            return Err(Error::input(format!("the split `{name}` has no examples"))
                .help(format!("splits with examples: {}; the task's table sets their sizes", have.join(", "))));
        }
        Ok(samples)
    }

    /// Examples of a split whose sentence was cut.
    pub fn truncated(&self, split: &str) -> usize {
        self.rows.iter().filter(|r| r.split == split && r.truncated).count()
    }
}

fn rows(frame: &DataFrame, labels: usize) -> Result<Vec<Row>> {
    let prompts = frame::u32_lists(frame, "input_ids")?;
    let label_ids = frame::u32s(frame, "label_id")?;
    let splits = frame::strings(frame, "split")?;
    let truncated = bools(frame, "truncated")?;
    frame::strings(frame, "id")?
        .into_iter()
        .zip(prompts)
        .zip(label_ids)
        .zip(splits.into_iter().zip(truncated))
        .map(|(((id, prompt), label), (split, truncated))| {
            if prompt.is_empty() {
                return Err(Error::input(format!("the prompt of `{id}` is empty")));
            }
            if label as usize >= labels {
                return Err(Error::input(format!("`{id}` has label {label}, but the task has {labels} labels")));
            }
            Ok(Row { split, truncated, sample: Sample { id, label, prompt } })
        })
        .collect()
}

fn bools(frame: &DataFrame, name: &str) -> Result<Vec<bool>> {
    let column = frame.column(name)?.as_materialized_series();
    Ok(column.bool()?.iter().map(|v| v.unwrap_or(false)).collect())
}
