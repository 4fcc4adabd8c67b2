//! The table of datasets: what was prepared, beside what a publication says of the same corpora.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    csv::{self, NA},
    format::{self, MISSING},
    markdown::{Align, aligned},
    text::on_lines,
};
use crate::{
    base::error::{Error, Result},
    data::{Pin, Split, Summary, card::Duplicates},
};

/// What the table shows, and in which order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetLayout {
    /// Name of the table's files, without extension.
    pub name: String,
    pub title: String,
    /// Markdown, one item each.
    pub notes: Vec<String>,
    /// Where the published figures are from.
    pub publication: String,
    /// Rows, from top to bottom.
    pub datasets: Vec<DatasetEntry>,
}

/// What a card says of a dataset that its prepared examples don't.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetEntry {
    pub name: String,
    pub title: String,
    pub description: Option<String>,
    pub domain: Option<String>,
    pub homepage: Option<String>,
    pub citation: Option<String>,
    /// Where each file is published; files that people fetch by hand aren't here.
    pub urls: BTreeMap<String, String>,
    pub published: Option<Published>,
}

/// What a publication says of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Published {
    /// Language of the text.
    pub language: Option<String>,
    /// Whether the utterances are parts of dialogues.
    pub dialogue: Option<bool>,
    /// Where the text is from.
    pub domain: Option<String>,
    /// Number of speakers.
    pub speakers: Option<u64>,
    /// Number of dialogues.
    pub dialogues: Option<u64>,
    /// Number of utterances, in all splits together.
    pub utterances: Option<u64>,
    /// Utterances of the test split.
    pub test: Option<u64>,
    /// Mean number of words, compared to one decimal.
    pub words: Option<f64>,
    /// The classes, where the labels are classes.
    pub labels: Vec<String>,
    /// The ratings, where the labels are ratings: `-3 to 3`.
    pub scale: Option<String>,
}

/// One line of the table, from either side.
struct Figures {
    language: Option<String>,
    dialogue: Option<bool>,
    domain: Option<String>,
    speakers: Option<u64>,
    dialogues: Option<u64>,
    utterances: Option<u64>,
    test: Option<u64>,
    words: Option<f64>,
    classes: Option<String>,
}

/// A dataset of the layout with what was prepared of it, one summary for each scheme.
struct Row<'a> {
    entry: &'a DatasetEntry,
    schemes: Vec<&'a Summary>,
}

/// The files of the table: name and content.
///
/// `summaries` come from any tasks in any order; of several tasks with one dataset and scheme, one is enough, since limits
/// don't count here.
///
/// # Errors
/// Two summaries of one dataset that were made from different files.
pub fn dataset_table(layout: &DatasetLayout, summaries: &[Summary]) -> Result<Vec<(String, String)>> {
    let layout = &on_lines(layout)?;
    let summaries: Vec<Summary> = summaries.iter().map(on_lines).collect::<Result<_>>()?;
    let mut by_dataset: BTreeMap<&str, BTreeMap<&str, &Summary>> = BTreeMap::new();
    for summary in &summaries {
        let schemes = by_dataset.entry(&summary.dataset).or_default();
        if let Some(other) = schemes.values().next()
            && other.sources != summary.sources
        {
            return Err(Error::input(format!("dataset `{}` was prepared from different files", summary.dataset))
                .help("give the table inputs of one run of the pipeline"));
        }
        schemes.insert(&summary.scheme, summary);
    }
    let rows: Vec<Row> = layout
        .datasets
        .iter()
        .map(|entry| Row {
            entry,
            schemes: by_dataset.remove(entry.name.as_str()).into_iter().flat_map(BTreeMap::into_values).collect(),
        })
        .collect();
    let others: Vec<&str> = by_dataset.into_keys().collect();
    Ok(vec![
        (format!("{}.md", layout.name), markdown(layout, &rows, &others)),
        (format!("{}.csv", layout.name), table_csv(&rows)?),
        (format!("{}-classes.csv", layout.name), classes_csv(&rows)?),
    ])
}

impl Row<'_> {
    fn here(&self) -> Option<Figures> {
        let any = self.schemes.first()?;
        let classes: BTreeSet<usize> = self.schemes.iter().map(|s| s.labels.len()).collect();
        let classes: Vec<_> = classes.iter().map(usize::to_string).collect();
        Some(Figures {
            language: Some(any.language.clone()),
            dialogue: Some(any.dialogues.is_some()),
            domain: self.entry.domain.clone(),
            speakers: any.speakers,
            dialogues: any.dialogues,
            utterances: Some(any.rows()),
            test: any.read.iter().find(|s| s.split == Split::Test).map(|s| s.examples),
            words: Some(any.words_per_utterance()),
            classes: Some(classes.join(" or ")),
        })
    }

    fn published(&self) -> Option<Figures> {
        let p = self.entry.published.clone()?;
        let count = Some(p.labels.len()).filter(|n| *n > 0);
        Some(Figures {
            language: p.language,
            dialogue: p.dialogue,
            domain: p.domain,
            speakers: p.speakers,
            dialogues: p.dialogues,
            utterances: p.utterances,
            test: p.test,
            words: p.words,
            classes: count.map(|n| n.to_string()).or(p.scale),
        })
    }

    /// Every figure in which the two sides differ, a sentence each.
    fn differences(&self) -> Vec<String> {
        let (Some(here), Some(published)) = (self.here(), self.published()) else { return Vec::new() };
        let mut found = Vec::new();
        for (what, here, published) in [
            ("speakers", here.speakers, published.speakers),
            ("dialogues", here.dialogues, published.dialogues),
            ("utterances", here.utterances, published.utterances),
            ("test utterances", here.test, published.test),
        ] {
            match (here, published) {
                (Some(here), Some(published)) if here != published => found.push(format!(
                    "{what}: {} here, {} published ({})",
                    format::count(here),
                    format::count(published),
                    signed(here, published)
                )),
                (None, Some(published)) => {
                    found.push(format!("{what}: not in the files, {} published", format::count(published)))
                }
                _ => {}
            }
        }
        if let (Some(here), Some(published)) = (here.words, published.words)
            && decimal(here) != decimal(published)
        {
            found.push(format!("words per utterance: {} here, {} published", decimal(here), decimal(published)));
        }
        if let (Some(here), Some(published)) = (here.language, published.language)
            && here != published
        {
            found.push(format!("language: {here} here, {published} published"));
        }
        if let (Some(here), Some(published)) = (here.dialogue, published.dialogue)
            && here != published
        {
            found.push(format!("dialogue: {} here, {} published", yes(here), yes(published)));
        }
        let labels = self.entry.published.iter().flat_map(|p| &p.labels);
        let published: Vec<&str> = labels.map(String::as_str).collect();
        let same = |s: &&Summary| {
            s.labels.len() == published.len() && s.labels.iter().all(|label| published.contains(&label.as_str()))
        };
        if !published.is_empty() && !self.schemes.iter().any(same) {
            let here: Vec<_> = self.schemes.iter().map(|s| s.labels.join(", ")).collect();
            found.push(format!("classes: {} here, {} published", here.join("; or "), published.join(", ")));
        }
        found
    }
}

fn signed(here: u64, published: u64) -> String {
    if here > published {
        format!("+{}", format::count(here - published))
    } else {
        format!("−{}", format::count(published - here))
    }
}

fn decimal(x: f64) -> String {
    format!("{x:.1}")
}

fn yes(b: bool) -> &'static str {
    if b { "yes" } else { "no" }
}

const COLUMNS: [&str; 10] = [
    "Dataset",
    "Figures",
    "Language",
    "Dialogue",
    "Source",
    "Speakers",
    "Dialogues",
    "Utterances (test)",
    "Words per utterance",
    "Classes",
];

fn markdown(layout: &DatasetLayout, rows: &[Row], others: &[&str]) -> String {
    let mut out = format!("# {}\n\n", layout.title);
    out.push_str(&format!(
        "Rows marked *here* are counted in the files that this run read, before any class, duplicate or limit is applied; rows \
         marked *published* are quoted from {}. Words are what white space parts, or characters where a dataset's notes say \
         so; a publication may count punctuation apart.\n\n",
        layout.publication
    ));
    for note in &layout.notes {
        out.push_str(&format!("- {}\n", note.trim()));
    }
    if !others.is_empty() {
        out.push_str(&format!("- Prepared as well, but not in this table: {}.\n", others.join(", ")));
    }
    let local: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row, row.schemes.first()?)))
        .flat_map(|(row, s)| s.local_copies().map(|file| format!("`{}` of {}", file.name, row.entry.title)))
        .collect();
    if !local.is_empty() {
        out.push_str(&format!("- **Local copies, not the canonical bytes:** {}.\n", format::list(&local)));
    }
    if !out.ends_with("\n\n") {
        out.push('\n');
    }
    use Align::{Left, Right};
    let align = [Left, Left, Left, Left, Left, Right, Right, Right, Right, Right];
    let mut lines = Vec::new();
    for row in rows {
        lines.push(match row.here() {
            Some(here) => line(&row.entry.title, "here", &here),
            None => cells(&row.entry.title, "here", |_| format!("_{MISSING}_")),
        });
        if let Some(published) = row.published() {
            lines.push(line("", "published", &published));
        }
    }
    out.push_str(&aligned(&COLUMNS.map(str::to_owned), &align, &lines));

    out.push_str("\n## Differences from what is published\n\n");
    let mut any = false;
    for row in rows.iter().filter(|row| !row.schemes.is_empty()) {
        for difference in row.differences() {
            any = true;
            out.push_str(&format!("- {}: {difference}.\n", row.entry.title));
        }
    }
    if !any {
        out.push_str("None.\n");
    }
    for row in rows {
        out.push_str(&format!("\n{}", section(row)));
    }
    out
}

fn cells(title: &str, side: &str, cell: impl Fn(usize) -> String) -> Vec<String> {
    [title.to_owned(), side.to_owned()].into_iter().chain((2..COLUMNS.len()).map(cell)).collect()
}

fn line(title: &str, side: &str, f: &Figures) -> Vec<String> {
    let count = |n: Option<u64>| n.map_or("-".to_owned(), format::count);
    let text = |t: &Option<String>| t.clone().unwrap_or_else(|| "-".to_owned());
    let utterances = match (f.utterances, f.test) {
        (all, Some(test)) => format!("{} ({})", count(all), format::count(test)),
        (all, None) => count(all),
    };
    vec![
        title.to_owned(),
        side.to_owned(),
        text(&f.language),
        f.dialogue.map_or("-", yes).to_owned(),
        text(&f.domain),
        count(f.speakers),
        count(f.dialogues),
        utterances,
        f.words.map_or("-".to_owned(), decimal),
        text(&f.classes),
    ]
}

/// All about one dataset.
fn section(row: &Row) -> String {
    let entry = row.entry;
    let mut out = format!("## {}\n\n", entry.title);
    let Some(any) = row.schemes.first() else {
        out.push_str("No prepared examples of it reached this table.\n");
        return out;
    };
    if let Some(description) = &entry.description {
        out.push_str(&format!("{}\n\n", description.trim()));
    }
    out.push_str(&format!("- Labels measure {}. Licence: {}.\n", any.construct, any.license));
    if let Some(citation) = &entry.citation {
        let homepage = entry.homepage.as_ref().map(|page| format!(" <{page}>")).unwrap_or_default();
        out.push_str(&format!("- {citation}{homepage}\n"));
    }
    for note in &any.notes {
        out.push_str(&format!("- {note}\n"));
    }
    for summary in &row.schemes {
        out.push_str(&format!("\n{}", scheme(summary)));
    }
    let header = ["File", "Bytes", "BLAKE3", "Published at"].map(str::to_owned);
    let files: Vec<Vec<String>> = any
        .sources
        .iter()
        .map(|file| {
            let place = match (file.pin, entry.urls.get(&file.name)) {
                (Pin::Local, _) => "local copy, not the canonical bytes".to_owned(),
                (Pin::Canonical, Some(url)) => url.clone(),
                (Pin::Canonical, None) => "fetched by hand".to_owned(),
            };
            vec![file.name.clone(), format::count(file.bytes), format!("`{}`", file.blake3), place]
        })
        .collect();
    use Align::{Left, Right};
    out.push_str(&format!("\n{}", aligned(&header, &[Left, Right, Left, Left], &files)));
    out
}

/// Rows of each split and class, before and after what the scheme leaves out.
fn scheme(s: &Summary) -> String {
    let unclassed: u64 = s.read.iter().map(unclassed).sum();
    let extra = (unclassed > 0).then(|| "none of these".to_owned());
    let header: Vec<String> = [format!("Scheme `{}`", s.scheme)]
        .into_iter()
        .chain(s.labels.iter().cloned())
        .chain(extra.clone())
        .chain(["all".to_owned()])
        .collect();
    let rows: Vec<Vec<String>> = s
        .read
        .iter()
        .map(|split| {
            let classes = split.classes.values().copied();
            let counts = classes.chain(extra.as_ref().map(|_| self::unclassed(split))).chain([split.examples]);
            std::iter::once(split.split.name().to_owned()).chain(counts.map(format::count)).collect()
        })
        .collect();
    let align: Vec<Align> = (0..header.len()).map(|i| if i == 0 { Align::Left } else { Align::Right }).collect();
    let mut out = format!("{}\n", aligned(&header, &align, &rows));
    if let Some(note) = &s.scheme_note {
        out.push_str(&format!("- {note}\n"));
    }
    let dropped: Vec<_> = s.dropped.iter().map(|(reason, n)| format!("{} for {reason}", format::count(*n))).collect();
    if !dropped.is_empty() {
        out.push_str(&format!("- Left out: {}.\n", dropped.join(", ")));
    }
    let d = &s.duplicates;
    let policy = match d.policy {
        Duplicates::Keep => "all kept".to_owned(),
        Duplicates::Remove => format!("{} removed", format::count(d.removed)),
    };
    out.push_str(&format!(
        "- Duplicates of the rows with a class: {} within a split, {} across splits, {} texts ({} rows) with several classes; {policy}.\n",
        format::count(d.repeats_within_split),
        format::count(d.repeats_across_splits),
        format::count(d.conflicting_texts),
        format::count(d.conflicting_rows),
    ));
    out
}

/// Rows that have no class under the scheme.
fn unclassed(split: &crate::data::summary::SplitCounts) -> u64 {
    split.examples.saturating_sub(split.classes.values().sum())
}

fn table_csv(rows: &[Row]) -> Result<String> {
    let header = [
        "dataset",
        "figures",
        "language",
        "dialogue",
        "source",
        "speakers",
        "dialogues",
        "utterances",
        "test",
        "words_per_utterance",
        "classes",
    ];
    let na = || NA.to_owned();
    let count = |n: Option<u64>| n.map_or_else(na, |n| n.to_string());
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    for row in rows {
        for (side, figures) in [("here", row.here()), ("published", row.published())] {
            let Some(f) = figures else { continue };
            lines.push(vec![
                row.entry.name.clone(),
                side.to_owned(),
                f.language.unwrap_or_else(na),
                f.dialogue.map_or_else(na, |d| yes(d).to_owned()),
                f.domain.unwrap_or_else(na),
                count(f.speakers),
                count(f.dialogues),
                count(f.utterances),
                count(f.test),
                f.words.map_or_else(na, |w| format!("{w:.4}")),
                f.classes.unwrap_or_else(na),
            ]);
        }
    }
    csv::write(lines)
}

/// One line per scheme, split and class; rows without a class have `NA`.
fn classes_csv(rows: &[Row]) -> Result<String> {
    let mut lines = vec![["dataset", "scheme", "split", "class", "rows"].map(str::to_owned).to_vec()];
    for summary in rows.iter().flat_map(|row| &row.schemes) {
        for split in &summary.read {
            let none = Some(unclassed(split)).filter(|n| *n > 0).map(|n| (NA, n));
            let classes = split.classes.iter().map(|(label, n)| (label.as_str(), *n)).chain(none);
            lines.extend(classes.map(|(label, n)| {
                let place = [summary.dataset.as_str(), &summary.scheme, split.split.name(), label];
                place.map(str::to_owned).into_iter().chain([n.to_string()]).collect()
            }));
        }
    }
    csv::write(lines)
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::{
        base::digest::Digest,
        data::{
            SourceFile,
            summary::{DuplicateCounts, SplitCounts},
        },
    };

    fn summary(dataset: &str, labels: &[&str], counts: [u64; 2], unclassed: u64) -> Summary {
        let split = |split, n: u64| SplitCounts {
            split,
            examples: n * labels.len() as u64 + unclassed,
            words: 3 * (n * labels.len() as u64 + unclassed),
            classes: labels.iter().map(|l| ((*l).to_owned(), n)).collect(),
        };
        let read = vec![split(Split::Train, counts[0]), split(Split::Test, counts[1])];
        Summary {
            dataset: dataset.to_owned(),
            scheme: labels.len().to_string(),
            scheme_note: None,
            language: "English".to_owned(),
            construct: "emotion".to_owned(),
            license: "CC0-1.0".to_owned(),
            notes: vec!["A note.".to_owned()],
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
            files: IndexMap::from([("f.csv".to_owned(), read.iter().map(|s| s.examples).sum())]),
            sources: vec![SourceFile {
                name: "f.csv".to_owned(),
                bytes: 12,
                blake3: Digest::of(b"f"),
                pin: Pin::Canonical,
            }],
            dropped: BTreeMap::new(),
            duplicates: DuplicateCounts {
                policy: Duplicates::Keep,
                repeats_within_split: 1,
                repeats_across_splits: 0,
                conflicting_texts: 0,
                conflicting_rows: 0,
                removed: 0,
            },
            available: read.clone(),
            kept: read.clone(),
            read,
            dialogues: Some(7),
            speakers: None,
        }
    }

    fn layout(names: &[&str], published: &Published) -> DatasetLayout {
        let entry = |name: &&str| DatasetEntry {
            name: (*name).to_owned(),
            title: name.to_uppercase(),
            description: None,
            domain: None,
            homepage: None,
            citation: None,
            urls: BTreeMap::new(),
            published: Some(published.clone()),
        };
        DatasetLayout {
            name: "t".to_owned(),
            title: "T".to_owned(),
            notes: Vec::new(),
            publication: "a paper".to_owned(),
            datasets: names.iter().map(entry).collect(),
        }
    }

    fn differences(summaries: &[Summary], published: Published) -> Vec<String> {
        let files = dataset_table(&layout(&["d"], &published), summaries).unwrap();
        let section = files[0].1.split("## ").nth(1).unwrap().to_owned();
        section.lines().filter_map(|l| l.strip_prefix("- ").map(str::to_owned)).collect()
    }

    #[test]
    fn every_difference_is_named_and_agreement_is_not() {
        let same = Published {
            language: Some("English".to_owned()),
            dialogue: Some(true),
            dialogues: Some(7),
            utterances: Some(10),
            test: Some(4),
            words: Some(3.04),
            labels: vec!["joy".to_owned(), "anger".to_owned()],
            ..Published::default()
        };
        let here = [summary("d", &["anger", "joy"], [3, 2], 0)];
        assert_eq!(differences(&here, same.clone()), [""; 0]);
        let other = Published {
            language: Some("Mandarin".to_owned()),
            dialogue: Some(false),
            speakers: Some(4),
            dialogues: Some(9),
            utterances: Some(8),
            test: None,
            words: Some(3.1),
            labels: vec!["joy".to_owned()],
            ..same
        };
        assert_eq!(
            differences(&here, other),
            [
                "D: speakers: not in the files, 4 published.",
                "D: dialogues: 7 here, 9 published (−2).",
                "D: utterances: 10 here, 8 published (+2).",
                "D: words per utterance: 3.0 here, 3.1 published.",
                "D: language: English here, Mandarin published.",
                "D: dialogue: yes here, no published.",
                "D: classes: anger, joy here, joy published.",
            ]
        );
    }

    #[test]
    fn tasks_of_one_dataset_share_a_row_whatever_their_order_and_limits() {
        let two = summary("d", &["good", "bad"], [3, 2], 1);
        let mut limited = two.clone();
        limited.kept[0].examples = 1;
        let three = summary("d", &["good", "bad", "neither"], [2, 1], 0);
        let table = |all: &[Summary]| dataset_table(&layout(&["d"], &Published::default()), all).unwrap();
        let files = table(&[two.clone(), three.clone(), limited.clone()]);
        assert_eq!(files, table(&[three, limited, two]));
        let [(_, page), (_, csv), (_, classes)] = files.try_into().unwrap();
        assert_eq!(page.matches("| here ").count(), 1, "{page}");
        assert!(page.contains("2 or 3"), "{page}");
        assert!(csv.contains("\nd,here,English,yes,NA,NA,7,12,5,3.0000,2 or 3\n"), "{csv}");
        assert!(classes.contains("\nd,2,test,bad,2\nd,2,test,NA,1\nd,3,train,good,2\n"), "{classes}");
    }

    #[test]
    fn what_is_absent_is_said() {
        let others = [summary("e", &["a", "b"], [1, 1], 0)];
        let files = dataset_table(&layout(&["d"], &Published::default()), &others).unwrap();
        assert!(files[0].1.contains("| D       | here      | _missing_"), "{}", files[0].1);
        assert!(files[0].1.contains("not in this table: e."), "{}", files[0].1);
        assert!(files[0].1.contains("No prepared examples of it"), "{}", files[0].1);
    }

    #[test]
    fn two_versions_of_a_dataset_do_not_go_into_one_row() {
        let mut other = summary("d", &["a", "b", "c"], [1, 1], 0);
        other.sources[0].blake3 = Digest::of(b"g");
        let both = [summary("d", &["a", "b"], [1, 1], 0), other];
        let e = dataset_table(&layout(&["d"], &Published::default()), &both).unwrap_err();
        assert_eq!(e.message, "dataset `d` was prepared from different files");
    }
}
