//! Rows of a dataset's files, with their class and split: examples to be, and what won't become one.

use super::{
    card::{Fields, FileSpec},
    example::Example,
    label_scheme::{Assignment, RawLabel},
    normalize::{fold, normalize},
    preparation_spec::PreparationSpec,
    readers::{Record, Records},
    split::{Split, TextHash},
    split_lists::SplitLists,
};
use crate::base::error::{Error, Result};

/// A row of a file on its way to becoming an example.
pub(super) struct Row {
    pub example: Example,
    pub hash: TextHash,
    /// Of its text, in the card's unit.
    pub words: u64,
    /// Why it can't become one.
    pub dropped: Option<String>,
    /// Whether the scheme gave it a class.
    pub labelled: bool,
}

impl PreparationSpec {
    /// Reads the rows of a file, and adds them to `rows`.
    ///
    /// # Errors
    /// A column that the file doesn't have, or a row that can't be read: an empty field, a rating that is no number, an
    /// unknown split or label.
    pub(super) fn read_rows(
        &self,
        file: &FileSpec,
        records: &Records,
        lists: &mut SplitLists,
        rows: &mut Vec<Row>,
    ) -> Result<()> {
        let columns = Columns::new(&self.fields, file, records)?;
        for record in &records.rows {
            let values = Values { record, columns: &records.columns };
            let row = self.read_row(file, &columns, &values, lists).map_err(|e| e.at(&record.place))?;
            rows.push(row);
        }
        Ok(())
    }

    fn read_row(&self, file: &FileSpec, columns: &Columns, row: &Values, lists: &mut SplitLists) -> Result<Row> {
        let value = columns.value.map(|column| rating(row.get(column)?)).transpose()?;
        let raw_label = columns.label.map(|column| row.get(column)).transpose()?.or(file.label.as_deref());
        let raw = self.raw(value, raw_label)?;
        let text = normalize(&self.normalize, row.get(columns.text)?);
        let folded = fold(&text);
        let salt = self.split.as_ref().and_then(|s| s.salt.as_deref()).unwrap_or(&self.dataset);
        let hash = TextHash::new(salt, &folded);
        let split = match (file.split, columns.split, &self.split) {
            (Some(split), _, _) => split,
            (_, Some(column), _) => self.named_split(row.get(column)?, lists)?,
            (_, _, Some(fractions)) => fractions.draw(&hash),
            _ => return Err(Error::internal("nothing says how rows are split")),
        };
        let assigned = self.scheme.assign(raw)?;
        let dropped = match &assigned {
            Assignment::Dropped(reason) => Some(reason.clone()),
            Assignment::Class(_) if folded.is_empty() => Some("no text".to_owned()),
            Assignment::Class(_) => self.require.iter().find(|r| !r.holds(&text)).map(|r| r.reason().to_owned()),
        };
        let (label_id, labelled) = match assigned {
            Assignment::Class(class) => (class, true),
            Assignment::Dropped(_) => (0, false),
        };
        let id = if columns.id.is_empty() {
            format!("{}:{}", file.name, row.record.place.id())
        } else {
            row_id(&columns.id, row)?
        };
        // Files may number their dialogues from the beginning again.
        let dialogue =
            columns.dialogue.map(|column| row.get(column)).transpose()?.filter(|name| !name.trim().is_empty());
        let dialogue = dialogue.map(|name| match self.files.len() {
            1 => name.to_owned(),
            _ => format!("{}:{name}", file.name),
        });
        let speaker = columns.speaker.and_then(|column| row.optional(column)).filter(|name| !name.is_empty());
        Ok(Row {
            words: self.words.count(&text),
            example: Example {
                id,
                text,
                label: self.scheme.labels[label_id as usize].clone(),
                label_id,
                split,
                value,
                dialogue,
                speaker: speaker.map(str::to_owned),
            },
            hash,
            dropped,
            labelled,
        })
    }

    /// What the scheme makes a class of.
    fn raw<'a>(&self, value: Option<f64>, label: Option<&'a str>) -> Result<RawLabel<'a>> {
        match (self.scheme.bins.is_empty(), value, label) {
            (false, Some(value), _) => Ok(RawLabel::Value(value)),
            (true, _, Some(label)) => Ok(RawLabel::Label(label)),
            _ => Err(Error::internal(format!("scheme `{}` has nothing to read its classes from", self.scheme_name))),
        }
    }

    fn named_split(&self, name: &str, lists: &mut SplitLists) -> Result<Split> {
        if !self.fields.split_lists.is_empty() {
            return lists.split_of(name);
        }
        let splits = &self.fields.splits;
        let split = if splits.is_empty() { Split::from_name(name) } else { splits.get(name).copied() };
        split.ok_or_else(|| {
            let known: Vec<&str> = if splits.is_empty() {
                Split::ALL.iter().map(|s| s.name()).collect()
            } else {
                splits.keys().map(String::as_str).collect()
            };
            Error::input(format!("unknown split `{name}`; known: {}", known.join(", ")))
                .help("say in the dataset's card what it means: `fields.splits = { NAME = \"train\" }`")
        })
    }
}

/// Positions of the columns that have a meaning.
struct Columns {
    text: usize,
    label: Option<usize>,
    value: Option<usize>,
    id: Vec<usize>,
    dialogue: Option<usize>,
    speaker: Option<usize>,
    split: Option<usize>,
}

impl Columns {
    fn new(fields: &Fields, file: &FileSpec, records: &Records) -> Result<Self> {
        let find = |name: &Option<String>| name.as_ref().map(|name| records.column(name)).transpose();
        Ok(Self {
            text: records.column(&fields.text)?,
            label: if file.label.is_some() { None } else { find(&fields.label)? },
            value: find(&fields.value)?,
            id: fields.id.iter().map(|name| records.column(name)).collect::<Result<_>>()?,
            dialogue: find(&fields.dialogue)?,
            speaker: find(&fields.speaker)?,
            split: find(&fields.split)?,
        })
    }
}

/// The values of a row, with errors that name the column.
struct Values<'a> {
    record: &'a Record,
    columns: &'a [String],
}

impl<'a> Values<'a> {
    fn get(&self, column: usize) -> Result<&'a str> {
        self.optional(column).ok_or_else(|| {
            let names = self.columns.iter().enumerate();
            let have: Vec<_> = names.filter(|(i, _)| self.optional(*i).is_some()).map(|(_, n)| n.as_str()).collect();
            Error::input(format!("no `{}` here; there is: {}", self.columns[column], have.join(", ")))
                .help("correct the file, or `fields` in the dataset's card")
        })
    }

    fn optional(&self, column: usize) -> Option<&'a str> {
        self.record.get(column)
    }
}

fn rating(text: &str) -> Result<f64> {
    text.trim().parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(|| {
        Error::input(format!("the rating `{text}` is no number"))
            .help("check which column `fields.value` names in the dataset's card")
    })
}

/// What the columns that name a row together have.
fn row_id(columns: &[usize], row: &Values) -> Result<String> {
    let parts = columns.iter().map(|column| row.get(*column)).collect::<Result<Vec<_>>>()?;
    if parts.iter().all(|part| part.trim().is_empty()) {
        return Err(Error::input("the row has no id: the columns under `fields.id` are empty")
            .help("fill it in, or leave `fields.id` out to use file and line"));
    }
    Ok(parts.join("/"))
}
