//! The files of a table of datasets.

use minijinja::{Value, context, value::Serde};

use super::{
    dataset_figures::{Figures, Row, decimal, rows, unclassed, yes},
    dataset_layout::DatasetLayout,
};
use crate::report::{
    csv::{self, NA, na},
    template,
    text::on_lines,
};
use crate::{
    base::error::Result,
    data::{Pin, Summary, card::Duplicates},
};

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
    let (rows, others) = rows(layout, &summaries)?;
    Ok(vec![
        (format!("{}.md", layout.name), page(layout, &rows, &others)?),
        (format!("{}.csv", layout.name), table_csv(&rows)?),
        (format!("{}-classes.csv", layout.name), classes_csv(&rows)?),
    ])
}

fn page(layout: &DatasetLayout, rows: &[Row], others: &[&str]) -> Result<String> {
    let local = rows.iter().filter_map(|row| Some((row, row.schemes.first()?)));
    let local = local.flat_map(|(row, s)| s.local_copies().map(|file| (file.name.as_str(), row.entry.title.as_str())));
    let local: Vec<Value> = local.map(|(file, title)| context! { file, title }).collect();
    let rows: Vec<Value> = rows.iter().map(row).collect();
    template::render("datasets.md", context! { layout => Serde(layout), rows, others => Serde(others), local })
}

fn row(row: &Row) -> Value {
    let any = row.schemes.first().map(|any| {
        let files = any.sources.iter().map(|file| {
            let url = row.entry.urls.get(&file.name);
            let local = matches!(file.pin, Pin::Local);
            context! { name => &file.name, bytes => file.bytes, blake3 => file.blake3.to_string(), local, url => url.cloned() }
        });
        let files: Vec<Value> = files.collect();
        context! { construct => &any.construct, license => &any.license, notes => any.notes.clone(), files }
    });
    context! {
        entry => Serde(row.entry),
        here => row.here().map(|f| figures(&f)),
        published => row.published().map(|f| figures(&f)),
        differences => if any.is_some() { row.differences() } else { Vec::new() },
        any,
        schemes => row.schemes.iter().map(|s| scheme(s)).collect::<Vec<Value>>(),
    }
}

fn figures(f: &Figures) -> Value {
    context! { figures => Serde(f), dialogue => f.dialogue.map(yes), words => f.words.map(decimal) }
}

/// Rows of each split and class, before and after what the scheme leaves out.
fn scheme(s: &Summary) -> Value {
    let extra = s.read.iter().any(|split| unclassed(split) > 0);
    let splits = s.read.iter().map(|split| {
        let counts = split.classes.values().copied().chain(extra.then(|| unclassed(split))).chain([split.examples]);
        context! { name => split.split.name(), counts => counts.collect::<Vec<u64>>() }
    });
    let splits: Vec<Value> = splits.collect();
    let dropped: Vec<(String, u64)> = s.dropped.iter().map(|(reason, n)| (reason.clone(), *n)).collect();
    let removed = matches!(s.duplicates.policy, Duplicates::Remove);
    context! { s => Serde(s), extra, splits, dropped, removed }
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
    use std::collections::BTreeMap;

    use indexmap::IndexMap;

    use super::*;
    use crate::report::datasets::dataset_layout::{DatasetEntry, Published};
    use crate::{
        base::digest::Digest,
        data::{
            SourceFile, Split,
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
