//! Labelled examples, and the table that holds them.

use std::path::Path;

use super::{frame, split::Split};
use crate::base::error::{At, Error, Result};

/// A labelled utterance.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Unique in the dataset.
    pub id: String,
    pub text: String,
    pub label: String,
    /// Position of the label in its scheme.
    pub label_id: u32,
    pub split: Split,
    /// The rating that the label was made of.
    pub value: Option<f64>,
    pub dialogue: Option<String>,
    pub speaker: Option<String>,
}

/// The file with the examples in a prepared artifact.
pub const EXAMPLES_FILE: &str = "examples.parquet";

/// Writes examples in their order as a Parquet table.
///
/// # Errors
/// If the file can't be written.
pub fn write_examples(path: &Path, examples: &[Example]) -> Result<()> {
    fn column<'a, T>(examples: &'a [Example], get: impl Fn(&'a Example) -> T) -> Vec<T> {
        examples.iter().map(get).collect()
    }
    let columns = vec![
        frame::string_column("id", &column(examples, |e| &e.id)),
        frame::string_column("text", &column(examples, |e| &e.text)),
        frame::string_column("label", &column(examples, |e| &e.label)),
        frame::u32_column("label_id", &column(examples, |e| e.label_id)),
        frame::string_column("split", &column(examples, |e| e.split.name())),
        frame::opt_f64_column("value", &column(examples, |e| e.value)),
        frame::opt_string_column("dialogue", &column(examples, |e| e.dialogue.as_deref())),
        frame::opt_string_column("speaker", &column(examples, |e| e.speaker.as_deref())),
    ];
    frame::write_parquet(path, columns)
}

/// Reads what [`write_examples`] wrote.
///
/// # Errors
/// If the file can't be read, or lacks a column or a value.
pub fn read_examples(path: &Path) -> Result<Vec<Example>> {
    let read = || -> Result<Vec<Example>> {
        let table = frame::read_parquet(path)?;
        let splits: Vec<Split> = frame::strings(&table, "split")?
            .iter()
            .map(|name| Split::from_name(name).ok_or_else(|| Error::input(format!("unknown split `{name}`"))))
            .collect::<Result<_>>()?;
        let columns = (
            frame::strings(&table, "id")?.into_iter(),
            frame::strings(&table, "text")?.into_iter(),
            frame::strings(&table, "label")?.into_iter(),
            frame::opt_f64s(&table, "value")?.into_iter(),
            frame::opt_strings(&table, "dialogue")?.into_iter(),
            frame::opt_strings(&table, "speaker")?.into_iter(),
        );
        let rest = columns.0.zip(columns.1).zip(columns.2).zip(columns.3).zip(columns.4.zip(columns.5));
        let ids = frame::u32s(&table, "label_id")?.into_iter().zip(splits);
        Ok(ids
            .zip(rest)
            .map(|((label_id, split), ((((id, text), label), value), (dialogue, speaker)))| Example {
                id,
                text,
                label,
                label_id,
                split,
                value,
                dialogue,
                speaker,
            })
            .collect())
    };
    read().at(path.display())
}
