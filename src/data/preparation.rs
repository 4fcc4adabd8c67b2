//! From the files of a dataset to the examples of a task: pure, all bytes in, all rows out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{
    card::{Card, Duplicates, Fields, FileSpec},
    expected_counts::{Comparison, Count},
    frame,
    label_scheme::{Assigned, Raw, Scheme},
    normalize::{Requirement, Step, WordUnit, fold, normalize},
    readers::{Encoding, FileFormat, Record, Records, numbered},
    split::{Fractions, Split, TextHash},
    summary::{DuplicateCounts, Pin, SourceFile, SplitCounts, Summary},
    task::Limit,
};
use crate::base::{
    digest::Digest,
    error::{At, Error, Result},
};

/// Everything that decides which examples come out of a dataset's files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub dataset: String,
    pub language: String,
    pub construct: String,
    pub license: String,
    pub notes: Vec<String>,
    pub files: Vec<FileSpec>,
    pub encoding: Encoding,
    pub read: FileFormat,
    pub fields: Fields,
    pub normalize: Vec<Step>,
    pub require: Vec<Requirement>,
    pub duplicates: Duplicates,
    pub split: Option<Fractions>,
    pub words: WordUnit,
    pub scheme_name: String,
    pub scheme: Scheme,
    pub limit: Limit,
    pub expected_rows: Option<Count>,
    /// Files whose pin is not the card's.
    pub local_files: BTreeSet<String>,
}

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

/// The examples of a task and how they came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// By split, and in a split by the hash of the text.
    pub examples: Vec<Example>,
    pub summary: Summary,
}

/// A row of a file on its way to becoming an example.
struct Row {
    example: Example,
    hash: TextHash,
    words: u64,
    /// Why it can't become one.
    dropped: Option<String>,
    /// The scheme gave it a class.
    labelled: bool,
}

impl Recipe {
    /// The recipe of a card under the scheme `scheme_name`.
    pub fn new(dataset: &str, card: &Card, scheme_name: &str, scheme: &Scheme, limit: Limit) -> Self {
        Self {
            dataset: dataset.to_owned(),
            language: card.language.clone(),
            construct: card.construct.clone(),
            license: card.license.clone(),
            notes: card.notes.clone(),
            files: card.files(),
            encoding: card.encoding,
            read: card.read.clone(),
            fields: card.fields.clone(),
            normalize: card.normalize.clone(),
            require: card.require.clone(),
            duplicates: card.duplicates,
            split: card.split.clone(),
            words: card.words,
            scheme_name: scheme_name.to_owned(),
            scheme: scheme.clone(),
            limit,
            expected_rows: card.expect.rows.clone(),
            local_files: card.local_files(),
        }
    }

    /// Reads, labels, splits, cleans and limits.
    ///
    /// `bytes` gives the content of a file by its name.
    ///
    /// # Errors
    /// Whatever is wrong with the files, with file and line; counts that are not the card's; splits or classes without
    /// examples.
    pub fn prepare(&self, mut bytes: impl FnMut(&str) -> Result<Vec<u8>>) -> Result<Prepared> {
        let mut sources = Vec::new();
        let mut content = |name: &str| -> Result<Vec<u8>> {
            let bytes = bytes(name)?;
            sources.push(SourceFile {
                name: name.to_owned(),
                bytes: bytes.len() as u64,
                blake3: Digest::of(&bytes),
                pin: if self.local_files.contains(name) { Pin::Local } else { Pin::Canonical },
            });
            Ok(bytes)
        };
        let mut lists = SplitLists::default();
        for (split, name) in &self.fields.split_lists {
            lists.read(*split, name, &content(name)?, self.encoding).map_err(|e| e.at(name))?;
        }
        let mut rows = Vec::new();
        let mut files = IndexMap::new();
        for file in &self.files {
            let records = self.read.read(&file.name, &content(&file.name)?, self.encoding)?;
            files.insert(file.name.clone(), records.rows.len() as u64);
            self.read_rows(file, &records, &mut lists, &mut rows).map_err(|e| e.at(&file.name))?;
        }
        lists.check_used(self.fields.split.as_deref().unwrap_or_default())?;
        check_ids(&rows)?;

        let read = self.count(rows.iter());
        let dialogues = Some(distinct(&rows, |e| e.dialogue.as_deref())).filter(|n| *n > 0);
        let speakers = Some(distinct(&rows, |e| e.speaker.as_deref())).filter(|n| *n > 0);
        let mut dropped = BTreeMap::new();
        rows.retain(|row| match &row.dropped {
            Some(reason) => {
                *dropped.entry(reason.clone()).or_insert(0) += 1;
                false
            }
            None => true,
        });
        let duplicates = self.remove_duplicates(&mut rows);
        // Stable, so that equal texts stay in the order of the files.
        rows.sort_by_key(|row| (row.example.split, row.hash));
        let available = self.count(rows.iter());
        self.check_counts(files.values().sum(), &read, &available)?;

        let mut taken: BTreeMap<Split, u32> = BTreeMap::new();
        rows.retain(|row| {
            let taken = taken.entry(row.example.split).or_insert(0);
            *taken += 1;
            self.limit.of(row.example.split).is_none_or(|limit| *taken <= limit)
        });
        let kept = self.count(rows.iter());
        self.check_classes(&available, &kept)?;

        let summary = Summary {
            dataset: self.dataset.clone(),
            scheme: self.scheme_name.clone(),
            scheme_note: self.scheme.note.clone(),
            language: self.language.clone(),
            construct: self.construct.clone(),
            license: self.license.clone(),
            notes: self.notes.clone(),
            labels: self.scheme.labels.clone(),
            files,
            sources,
            read,
            dropped,
            duplicates,
            available,
            kept,
            dialogues,
            speakers,
        };
        Ok(Prepared { examples: rows.into_iter().map(|row| row.example).collect(), summary })
    }

    fn read_rows(&self, file: &FileSpec, records: &Records, lists: &mut SplitLists, rows: &mut Vec<Row>) -> Result<()> {
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
        let raw = match (self.scheme.bins.is_empty(), value, raw_label) {
            (false, Some(value), _) => Raw::Value(value),
            (true, _, Some(label)) => Raw::Label(label),
            _ => {
                return Err(Error::internal(format!(
                    "scheme `{}` has nothing to read its classes from",
                    self.scheme_name
                )));
            }
        };
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
            Assigned::Dropped(reason) => Some(reason.clone()),
            Assigned::Class(_) if folded.is_empty() => Some("no text".to_owned()),
            Assigned::Class(_) => self.require.iter().find(|r| !r.holds(&text)).map(|r| r.reason().to_owned()),
        };
        let (label_id, labelled) = match assigned {
            Assigned::Class(class) => (class, true),
            Assigned::Dropped(_) => (0, false),
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

    fn remove_duplicates(&self, rows: &mut Vec<Row>) -> DuplicateCounts {
        let mut groups: HashMap<TextHash, Vec<usize>> = HashMap::new();
        for (i, row) in rows.iter().enumerate() {
            groups.entry(row.hash).or_default().push(i);
        }
        let mut counts = DuplicateCounts {
            policy: self.duplicates,
            repeats_within_split: 0,
            repeats_across_splits: 0,
            conflicting_texts: 0,
            conflicting_rows: 0,
            removed: 0,
        };
        let mut remove = vec![false; rows.len()];
        for group in groups.into_values().filter(|group| group.len() > 1) {
            let labels: BTreeSet<u32> = group.iter().map(|i| rows[*i].example.label_id).collect();
            if labels.len() > 1 {
                counts.conflicting_texts += 1;
                counts.conflicting_rows += group.len() as u64;
                group.iter().for_each(|i| remove[*i] = true);
                continue;
            }
            let Some(stays) = group.iter().copied().min_by_key(|i| (Reverse(rows[*i].example.split), *i)) else {
                continue;
            };
            for i in group.into_iter().filter(|i| *i != stays) {
                if rows[i].example.split == rows[stays].example.split {
                    counts.repeats_within_split += 1;
                } else {
                    counts.repeats_across_splits += 1;
                }
                remove[i] = true;
            }
        }
        if self.duplicates == Duplicates::Remove {
            let before = rows.len();
            let mut remove = remove.into_iter();
            rows.retain(|_| !remove.next().unwrap_or(false));
            counts.removed = (before - rows.len()) as u64;
        }
        counts
    }

    /// Counts per split; splits that have no row and that nothing provides are left out.
    fn count<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<SplitCounts> {
        let empty = |split| SplitCounts {
            split,
            examples: 0,
            words: 0,
            classes: self.scheme.labels.iter().map(|label| (label.clone(), 0)).collect(),
        };
        let mut counts = Split::ALL.map(empty);
        for row in rows {
            let split = &mut counts[row.example.split as usize];
            split.examples += 1;
            split.words += row.words;
            if row.labelled {
                split.classes[row.example.label_id as usize] += 1;
            }
        }
        counts.into_iter().filter(|c| c.examples > 0 || self.provides(c.split)).collect()
    }

    /// Whether the dataset should have examples in a split.
    fn provides(&self, split: Split) -> bool {
        match &self.split {
            Some(fractions) => fractions.shares().iter().any(|(s, share)| *s == split && *share > 0.0),
            None => {
                split != Split::Dev
                    || self.files.iter().any(|f| f.split == Some(split))
                    || self.fields.splits.values().any(|s| *s == split)
                    || self.fields.split_lists.contains_key(&split)
            }
        }
    }

    fn check_counts(&self, rows: u64, read: &[SplitCounts], available: &[SplitCounts]) -> Result<()> {
        let mut comparison = Comparison::default();
        if self.expected_rows.is_some() {
            comparison.add("all", self.expected_rows.as_ref(), rows);
        }
        let expect = &self.scheme.expect;
        for label in self.scheme.labels.iter().filter(|_| !expect.labelled.is_empty()) {
            let found = read.iter().map(|s| s.classes[label]).sum();
            comparison.add(label, expect.labelled.get(label), found);
        }
        for (split, classes) in &expect.kept {
            let counts = available.iter().find(|s| s.split == *split);
            for label in &self.scheme.labels {
                let found = counts.map_or(0, |s| s.classes[label]);
                comparison.add(format!("{} {label}", split.name()), classes.get(label), found);
            }
        }
        comparison.verify(&self.dataset, &self.scheme_name)
    }

    fn check_classes(&self, available: &[SplitCounts], kept: &[SplitCounts]) -> Result<()> {
        let place = format!("dataset `{}`, scheme `{}`", self.dataset, self.scheme_name);
        for split in Split::ALL {
            let limit = self.limit.of(split);
            let wanted = limit.map_or_else(|| self.provides(split), |n| n > 0);
            let of = |counts: &[SplitCounts]| counts.iter().find(|c| c.split == split).cloned();
            let (before, after) = (of(available), of(kept));
            if !wanted && after.as_ref().is_none_or(|c| c.examples == 0) {
                continue;
            }
            let name = split.name();
            let after = after.filter(|c| c.examples > 0).ok_or_else(|| {
                Error::input(format!("{place}: the {name} split is empty")).help(format!(
                    "give it examples in the dataset's card, or leave it out with `limit.{name} = 0` in the task"
                ))
            })?;
            let missing: Vec<_> =
                after.classes.iter().filter(|(_, n)| **n == 0).map(|(l, _)| format!("`{l}`")).collect();
            if !missing.is_empty() {
                let cut = before.is_some_and(|b| b.examples > after.examples);
                let help = if cut {
                    format!("raise `limit.{name}` of the task, or pick a scheme with fewer classes")
                } else {
                    "pick a scheme with fewer classes, or split differently in the dataset's card".to_owned()
                };
                return Err(Error::input(format!(
                    "{place}: the {name} split ({} examples) has no example of {}",
                    after.examples,
                    missing.join(", "),
                ))
                .help(help));
            }
        }
        Ok(())
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

/// Which values of the split column belong to which split, where files list them.
#[derive(Default)]
struct SplitLists {
    entries: IndexMap<String, Listed>,
}

struct Listed {
    split: Split,
    /// File and line.
    place: String,
    used: bool,
}

impl SplitLists {
    /// Adds the lines of a file. Empty ones don't count.
    fn read(&mut self, split: Split, file: &str, bytes: &[u8], encoding: Encoding) -> Result<()> {
        let text = encoding.decode(bytes)?;
        for (number, line) in numbered(&text) {
            let name = line.trim();
            if name.is_empty() {
                continue;
            }
            let listed = Listed { split, place: format!("{file}: line {number}"), used: false };
            if let Some(first) = self.entries.get(name) {
                return Err(Error::input(format!("line {number}: `{name}` is listed twice; first in {}", first.place))
                    .help("a value can belong to one split only"));
            }
            self.entries.insert(name.to_owned(), listed);
        }
        Ok(())
    }

    fn split_of(&mut self, name: &str) -> Result<Split> {
        match self.entries.get_mut(name) {
            Some(listed) => {
                listed.used = true;
                Ok(listed.split)
            }
            None => Err(Error::input(format!("`{name}` is in none of the lists of splits"))
                .help("are the lists of the same version as the data? They are the files under `fields.split_lists`")),
        }
    }

    /// Every listed value must occur.
    fn check_used(&self, column: &str) -> Result<()> {
        match self.entries.iter().find(|(_, listed)| !listed.used) {
            None => Ok(()),
            Some((name, listed)) => {
                Err(Error::input(format!("{}: no row has `{name}` in the column `{column}`", listed.place))
                    .help("is the data complete, and are the lists of the same version?"))
            }
        }
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

fn check_ids(rows: &[Row]) -> Result<()> {
    let mut seen = HashSet::with_capacity(rows.len());
    match rows.iter().find(|row| !seen.insert(row.example.id.as_str())) {
        None => Ok(()),
        Some(row) => Err(Error::input(format!("the id `{}` names two rows", row.example.id))
            .help("add a column to `fields.id` in the dataset's card, or leave it out to use file and line")),
    }
}

fn distinct(rows: &[Row], key: impl Fn(&Example) -> Option<&str>) -> u64 {
    rows.iter().filter_map(|row| key(&row.example)).collect::<HashSet<_>>().len() as u64
}

/// The file with the examples in a prepared artifact.
pub const EXAMPLES_FILE: &str = "examples.parquet";

/// Writes examples in their order.
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
