//! From the files of a dataset to the examples of a task: pure, all bytes in, all rows out.

use std::collections::{BTreeMap, HashSet};

use indexmap::IndexMap;

use super::{
    duplicates::remove_duplicates,
    example::Example,
    preparation_spec::PreparationSpec,
    rows::Row,
    split::Split,
    split_lists::SplitLists,
    summary::{Pin, SourceFile, Summary},
};
use crate::base::{
    digest::Digest,
    error::{Error, Result},
};

/// The examples of a task and how they came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// By split, and in a split by the hash of the text.
    pub examples: Vec<Example>,
    pub summary: Summary,
}

impl PreparationSpec {
    /// Reads, labels, splits, cleans and limits.
    ///
    /// `bytes` gives the content of a file by its name.
    ///
    /// # Errors
    /// Whatever is wrong with the files, with file and line; counts that are not the card's; splits or classes without
    /// examples.
    pub fn prepare(&self, bytes: impl FnMut(&str) -> Result<Vec<u8>>) -> Result<Prepared> {
        let FilesRead { mut rows, files, sources } = self.read_files(bytes)?;
        check_ids(&rows)?;
        let read = self.count(&rows);
        let dialogues = Some(distinct(&rows, |e| e.dialogue.as_deref())).filter(|n| *n > 0);
        let speakers = Some(distinct(&rows, |e| e.speaker.as_deref())).filter(|n| *n > 0);
        let dropped = take_out_dropped(&mut rows);
        let duplicates = remove_duplicates(self.duplicates, &mut rows);
        // Stable, so that equal texts stay in the order of the files.
        rows.sort_by_key(|row| (row.example.split, row.hash));
        let available = self.count(&rows);
        self.check_counts(files.values().sum(), &read, &available)?;
        self.apply_limit(&mut rows);
        let kept = self.count(&rows);
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

    fn read_files(&self, mut bytes: impl FnMut(&str) -> Result<Vec<u8>>) -> Result<FilesRead> {
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
        Ok(FilesRead { rows, files, sources })
    }

    /// Keeps the first rows of each split, as many as the task's limit allows.
    fn apply_limit(&self, rows: &mut Vec<Row>) {
        let mut taken: BTreeMap<Split, u32> = BTreeMap::new();
        rows.retain(|row| {
            let taken = taken.entry(row.example.split).or_insert(0);
            *taken += 1;
            self.limit.of(row.example.split).is_none_or(|limit| *taken <= limit)
        });
    }
}

/// The content of all files.
struct FilesRead {
    rows: Vec<Row>,
    /// Rows of each file.
    files: IndexMap<String, u64>,
    sources: Vec<SourceFile>,
}

/// Takes out the rows that can't become examples, and counts them by reason.
fn take_out_dropped(rows: &mut Vec<Row>) -> BTreeMap<String, u64> {
    let mut dropped = BTreeMap::new();
    rows.retain(|row| match &row.dropped {
        Some(reason) => {
            *dropped.entry(reason.clone()).or_insert(0) += 1;
            false
        }
        None => true,
    });
    dropped
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
