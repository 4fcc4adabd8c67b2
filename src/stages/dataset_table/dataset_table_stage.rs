//! The kind `dataset-table`: what was prepared, dataset by dataset, beside what a publication says of it.

use std::sync::Arc;

use super::dataset_table_resolve::{DatasetTableOptions, layout};
use crate::{
    base::{
        error::{IoAt, Result},
        machine::Resources,
    },
    config::Diagnostic,
    data::Summary,
    engine::{Artifact, Context, Isolation, ResolveContext, Resolved, TypedStage, Usual},
    report::{DatasetLayout, dataset_table},
};

/// Role of the inputs: artifacts of `prepare`.
const EXAMPLES: &str = "examples";

/// The kind `dataset-table`. Its artifact holds `NAME.md`, `NAME.csv` and `NAME-classes.csv`.
pub struct DatasetTable;

impl TypedStage for DatasetTable {
    const NAME: &'static str = "dataset-table";
    const VERSION: u32 = 3;
    const ISOLATION: Isolation = Isolation::InProcess;
    const SHOWS_NOTES: bool = true;
    type Table = DatasetTableOptions;
    type Params = DatasetLayout;

    fn resolve(cx: &ResolveContext, options: DatasetTableOptions) -> Result<Resolved<DatasetLayout>, Vec<Diagnostic>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{LoadOptions, Vocabulary, load, render},
        engine::{StageKind, vocabulary_entry},
    };

    /// What a stage with these keys resolves to over the cards of the tests, or its mistakes as a user sees them.
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
            .map_err(|diagnostics| render(&diagnostics, &loaded.sources))?;
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
        let diagnostics =
            resolve("name = 'Table 1'\ndatasets = ['clip', 'ratings', 'ratings']\npublished.tweets.test = 12");
        let diagnostics = diagnostics.unwrap_err();
        for expected in [
            "`Table 1` can't name a table's files",
            "there is no dataset `clip`",
            "did you mean `clips`?",
            "`ratings` is listed twice",
            "`tweets` has published figures and isn't among",
        ] {
            assert!(diagnostics.contains(expected), "{expected}:\n{diagnostics}");
        }
        assert!(
            resolve("name = 't'\ndatasets = ['clips']\npublished.clips.tests = 1").unwrap_err().contains("`test`?")
        );
    }
}
