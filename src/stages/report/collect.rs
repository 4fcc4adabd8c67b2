//! Artifacts of `evaluate` and `prepare`, read for a report.

use std::path::Path;

use crate::{
    base::error::{At, Error, IoAt, Result},
    data::{
        Summary,
        card::Duplicates,
        frame::{read_parquet, strings, u32s},
        summary,
    },
    engine::Artifact,
    eval::Evaluation,
    report::{Axes, DatasetFacts, Predictions, Run, SplitFacts},
};

/// Roles of the inputs: artifacts of `evaluate` and of `prepare`.
pub const EVALUATIONS: &str = "evaluations";
pub const EXAMPLES: &str = "examples";

/// Artifacts of `evaluate`, each with its axes where these are known.
///
/// # Errors
/// If an artifact can't be read.
pub fn runs(artifacts: &[Artifact], axes: &[Axes]) -> Result<Vec<Run>> {
    if !axes.is_empty() && axes.len() != artifacts.len() {
        return Err(Error::internal(format!("{} evaluations with the axes of {}", artifacts.len(), axes.len())));
    }
    let axes = axes.iter().cloned().map(Some).chain(std::iter::repeat(None));
    artifacts.iter().zip(axes).map(|(artifact, axes)| run(artifact, axes.unwrap_or_default())).collect()
}

fn run(artifact: &Artifact, axes: Axes) -> Result<Run> {
    let place = |file: &str| format!("evaluation {}, {file}", artifact.digest.short());
    let json = artifact.file("metrics.json")?;
    let evaluation: Evaluation = serde_json::from_slice(&std::fs::read(json).io_at("read", json)?)
        .map_err(|e| Error::input(e).help("the stage that made it is of another version; run it again"))
        .at(place("metrics.json"))?;
    let predictions = predictions(artifact.file("predictions.parquet")?).at(place("predictions.parquet"))?;
    Ok(Run { digest: artifact.digest, evaluation, predictions, axes })
}

fn predictions(path: &Path) -> Result<Predictions> {
    let frame = read_parquet(path)?;
    let predicted = frame.column("predicted_id").and_then(|c| c.as_materialized_series().u32());
    let labels = u32s(&frame, "label_id")?.into_iter().zip(predicted.map_err(Error::input)?.iter());
    let rows = strings(&frame, "id")?.into_iter().zip(labels);
    Ok(Predictions::new(rows.map(|(id, (gold, predicted))| (id, gold, predicted)).collect()))
}

/// An artifact of `prepare`.
///
/// # Errors
/// If it has no summary, or that can't be read.
pub fn dataset(artifact: &Artifact) -> Result<DatasetFacts> {
    Ok(facts(Summary::read_from(artifact.file(Summary::FILE)?)?))
}

fn facts(s: Summary) -> DatasetFacts {
    let d = &s.duplicates;
    let mut removed: Vec<(String, u64)> = s.dropped.iter().map(|(reason, n)| (reason.clone(), *n)).collect();
    if d.removed > 0 {
        removed.push(("duplicates".to_owned(), d.removed));
    }
    let duplicates = format!(
        "Duplicates {}: {} rows repeat one of the same class and split, {} one of the same class in another split, and {} texts ({} \
         rows) occur with several classes.",
        match d.policy {
            Duplicates::Remove => "were removed",
            Duplicates::Keep => "were kept",
        },
        d.repeats_within_split,
        d.repeats_across_splits,
        d.conflicting_texts,
        d.conflicting_rows
    );
    DatasetFacts {
        rows: s.rows(),
        removed,
        duplicates,
        available: s.available.iter().map(|c| c.examples).sum(),
        splits: s
            .kept
            .iter()
            .map(|c| SplitFacts {
                name: c.split.name().to_owned(),
                counts: s.labels.iter().map(|l| c.classes.get(l).copied().unwrap_or(0)).collect(),
                total: c.examples,
            })
            .collect(),
        local: s.sources.iter().filter(|f| f.pin == summary::Pin::Local).map(|f| f.name.clone()).collect(),
        dataset: s.dataset,
        scheme: s.scheme,
        scheme_note: s.scheme_note,
        construct: s.construct,
        language: s.language,
        license: s.license,
        labels: s.labels,
        notes: s.notes,
    }
}
