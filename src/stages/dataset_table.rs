//! `dataset-table`: what was prepared, dataset by dataset, beside what a publication says of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Deserialize;

use super::lookup::{definition_at, span};
use crate::{
    base::{
        error::{IoAt, Result},
        machine::Resources,
    },
    config::{Diagnostic, Spanned},
    data::{Card, Summary},
    engine::{Artifact, Context, Isolation, ResolveContext, Resolved, TypedStage, Usual},
    fetch::Source,
    report::{DatasetEntry, DatasetLayout, Published, dataset_table},
};

/// Role of the inputs: artifacts of `prepare`.
const EXAMPLES: &str = "examples";

/// Writes the datasets behind prepared examples as a table, in Markdown and CSV: sizes, classes, files, and how they
/// differ from published figures.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DatasetTableStage")]
pub struct Options {
    /// Name of the table's files, without extension.
    name: Spanned<String>,
    /// Heading.
    title: String,
    /// What a reader must know, an item each.
    #[serde(default)]
    notes: Vec<String>,
    /// Rows from top to bottom: names of datasets.
    datasets: Vec<Spanned<String>>,
    /// Where the published figures are from.
    #[serde(default)]
    publication: Option<String>,
    /// Published figures, by dataset.
    #[serde(default)]
    published: BTreeMap<String, Published>,
}

/// The kind `dataset-table`. Its artifact holds `NAME.md`, `NAME.csv` and `NAME-classes.csv`.
pub struct DatasetTable;

impl TypedStage for DatasetTable {
    const NAME: &'static str = "dataset-table";
    const VERSION: u32 = 3;
    const ISOLATION: Isolation = Isolation::InProcess;
    const SHOWS_NOTES: bool = true;
    type Table = Options;
    type Params = DatasetLayout;

    fn resolve(cx: &ResolveContext, options: Options) -> Result<Resolved<DatasetLayout>, Vec<Diagnostic>> {
        Ok(Resolved {
            resources: Resources { memory: 64 << 20, ..Resources::default() },
            time: Some(Arc::new(Usual(0.2))),
            ..Resolved::of(layout(cx, options)?)
        })
    }

    fn outputs(layout: &DatasetLayout) -> Option<Vec<String>> {
        let name = &layout.name;
        Some(vec![format!("{name}.csv"), format!("{name}-classes.csv"), format!("{name}.md")])
    }

    fn run(cx: &Context, mut layout: DatasetLayout) -> Result<()> {
        layout.notes.extend(cx.job.notes.iter().cloned());
        let read = |artifact: &Artifact| Summary::read_from(artifact.file(Summary::FILE)?);
        let summaries: Vec<Summary> = cx.inputs(EXAMPLES).iter().map(read).collect::<Result<_>>()?;
        for (name, content) in dataset_table(&layout, &summaries)? {
            let path = cx.out.join(name);
            std::fs::write(&path, content).io_at("write", &path)?;
        }
        Ok(())
    }
}

/// Looks every name up, and finds all faults at once.
fn layout(cx: &ResolveContext, mut options: Options) -> Result<DatasetLayout, Vec<Diagnostic>> {
    let mut faults = Vec::new();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if options.name.is_empty() || !options.name.chars().all(plain) {
        faults.push(
            Diagnostic::new(format!("`{}` can't name a table's files", options.name.value))
                .at(options.name.span)
                .help("use lower-case letters, digits, `-` and `_`, such as `table-1`"),
        );
    }
    if options.datasets.is_empty() {
        faults.push(Diagnostic::new("a table of datasets needs some").at(span(cx, "datasets")));
    }
    let mut seen = BTreeSet::new();
    let mut datasets = Vec::new();
    for name in &options.datasets {
        if !seen.insert(name.value.clone()) {
            faults.push(Diagnostic::new(format!("the dataset `{}` is listed twice", name.value)).at(name.span));
            continue;
        }
        match definition_at::<Card>(cx, "dataset", name, name.span) {
            Ok(card) => datasets.push(entry(&name.value, card, options.published.remove(&name.value))),
            Err(found) => faults.extend(found),
        }
    }
    for name in options.published.keys().filter(|name| !seen.contains(*name)) {
        faults.push(
            Diagnostic::new(format!("`{name}` has published figures and isn't among the table's `datasets`"))
                .at(span(cx, "published"))
                .help("list it, or remove its figures"),
        );
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(DatasetLayout {
        name: options.name.value,
        title: options.title,
        notes: options.notes,
        publication: options.publication.unwrap_or_else(|| "a publication".to_owned()),
        datasets,
    })
}

fn entry(name: &str, card: Card, published: Option<Published>) -> DatasetEntry {
    // Where a file lies on this machine is nobody's business but the machine's.
    let url = |source: serde_json::Value| {
        let source: Source = serde_json::from_value(source).ok()?;
        if source.local_path().is_some() { None } else { source.url }
    };
    DatasetEntry {
        name: name.to_owned(),
        title: card.title,
        description: card.description,
        domain: card.domain,
        homepage: card.homepage,
        citation: card.citation,
        urls: card.source.into_iter().filter_map(|(file, source)| Some((file, url(source)?))).collect(),
        published,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{LoadOptions, Vocabulary, load, render},
        engine::{StageKind, vocabulary_entry},
    };

    /// What a stage with these keys resolves to over the cards of the tests, or its faults as a user sees them.
    fn resolve(stage: &str) -> Result<DatasetLayout, String> {
        let cards = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/datasets/datasets.toml");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        let text = format!("include = [{cards:?}]\n[stages.table]\nkind = 'dataset-table'\ntitle = 'T'\n{stage}");
        std::fs::write(&path, text).unwrap();
        let kinds = vec![vocabulary_entry(&DatasetTable)];
        let vocabulary =
            Vocabulary { definitions: crate::data::definitions().into_iter().collect(), stage_kinds: kinds };
        let loaded = load(&path, &LoadOptions::default(), &vocabulary);
        let spec = loaded.spec.ok_or_else(|| render(&loaded.diagnostics, &loaded.sources))?;
        let action = &spec.stages[0].actions[0];
        let resolved = DatasetTable
            .resolve(&ResolveContext { spec: &spec, action })
            .map_err(|faults| render(&faults, &loaded.sources))?;
        Ok(serde_json::from_value(resolved.params).unwrap())
    }

    #[test]
    fn cards_give_titles_and_published_figures_their_place() {
        let layout = resolve("name = 'table-1'\ndatasets = ['clips', 'ratings']\npublished.ratings.test = 12").unwrap();
        assert_eq!(layout.datasets.iter().map(|d| d.title.as_str()).collect::<Vec<_>>(), ["Clips", "Ratings"]);
        assert!(layout.datasets[1].urls.is_empty(), "a path says nothing to others");
        assert_eq!(layout.datasets[1].published.as_ref().unwrap().test, Some(12));
    }

    #[test]
    fn all_faults_are_found_at_once() {
        let faults = resolve("name = 'Table 1'\ndatasets = ['clip', 'ratings', 'ratings']\npublished.tweets.test = 12");
        let faults = faults.unwrap_err();
        for expected in [
            "`Table 1` can't name a table's files",
            "there is no dataset `clip`",
            "did you mean `clips`?",
            "`ratings` is listed twice",
            "`tweets` has published figures and isn't among",
        ] {
            assert!(faults.contains(expected), "{expected}:\n{faults}");
        }
        assert!(
            resolve("name = 't'\ndatasets = ['clips']\npublished.clips.tests = 1").unwrap_err().contains("`test`?")
        );
    }
}
