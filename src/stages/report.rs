//! `report`: evaluations become tables, tests and plots.

mod choices;
mod collect;
mod options;
mod table_layouts;

use std::sync::Arc;

use crate::{
    base::{
        error::{IoAt, Result},
        machine::Resources,
    },
    config::{self, Diagnostic, Node},
    engine::{Context, Isolation, ResolveContext, Resolved, StageKind, Usual},
    report::{Evidence, Layout, Report},
};
use collect::{dataset, run};
use options::Options;
use table_layouts::layout;

/// Roles of the inputs: artifacts of `evaluate` and of `prepare`.
const EVALUATIONS: &str = "evaluations";
const EXAMPLES: &str = "examples";

/// The kind `report`. Its artifact holds `README.md`, `index.html`, `results.csv`, and a `.md` and a `.csv` per table.
pub struct ReportKind;

impl StageKind for ReportKind {
    fn name(&self) -> &'static str {
        "report"
    }

    fn version(&self) -> u32 {
        3
    }

    fn check(&self, params: &Node) -> Vec<Diagnostic> {
        config::check::<Options>(params)
    }

    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<Options>()
    }

    fn resolve(&self, cx: &ResolveContext) -> Result<Resolved, Vec<Diagnostic>> {
        let options: Options = config::from_node(&cx.action.params)?;
        let layout = layout(cx.spec, options, &cx.action.params)?;
        let params = serde_json::to_value(layout)
            .map_err(|e| vec![Diagnostic::new(format!("the layout can't be written as JSON: {e}"))])?;
        Ok(Resolved {
            params,
            resources: Resources { memory: 128 << 20, ..Resources::default() },
            work: Some(Arc::new(Usual(0.2))),
            ..Resolved::default()
        })
    }

    fn isolation(&self) -> Isolation {
        Isolation::InProcess
    }

    fn shows_notes(&self) -> bool {
        true
    }

    fn outputs(&self, params: &serde_json::Value) -> Option<Vec<String>> {
        let tables = params.get("tables")?.as_array()?;
        let names = tables.iter().filter_map(|table| table.get("name")?.as_str());
        let pages = names.flat_map(|name| [format!("{name}.md"), format!("{name}.csv")]);
        Some(["README.md", "index.html", "results.csv"].map(str::to_owned).into_iter().chain(pages).collect())
    }

    fn run(&self, cx: &Context) -> Result<()> {
        let mut layout: Layout = cx.params()?;
        layout.notes.extend(cx.job.notes.iter().cloned());
        let evidence = Evidence {
            runs: cx.inputs(EVALUATIONS).iter().map(run).collect::<Result<_>>()?,
            datasets: cx.inputs(EXAMPLES).iter().map(dataset).collect::<Result<_>>()?,
        };
        cx.checkpoint_reached()?;
        for (name, content) in Report::build(&layout, &evidence)?.files()? {
            let path = cx.out.join(name);
            std::fs::write(&path, content).io_at("write", &path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        path::{Path, PathBuf},
    };

    use super::*;
    use crate::{
        base::digest::Digest,
        config::{LoadOptions, SourceMap, Vocabulary, load, render},
        data::frame::{string_column, u32_column, write_parquet},
        engine::{Artifact, Job, Unwatched},
        eval::{
            Evaluation, MethodContext, ModelContext, TaskContext,
            bootstrap::{Bootstrap, Intervals},
            metrics::{Metric, Metrics},
        },
        report::{Named, TaskColumns},
    };

    const DEFINITIONS: &str = r#"
        [pipeline]
        name = "test"
        [task.products]
        title = "Products-2"
        metrics = ["accuracy", "ua"]
        [method.lora]
        title = "LoRA"
        alpha = 32
        target_modules = ["q", "v"]
        [model.big]
        title = "Big-6B"
    "#;

    /// The stage's layout, or its faults as a user sees them.
    fn resolve(stage: &str) -> Result<Layout, String> {
        let any = config::Entry::of::<serde_json::Value>;
        let kind = crate::engine::vocabulary_entry(&ReportKind);
        let vocabulary =
            Vocabulary { definitions: vec![any("task"), any("method"), any("model")], stage_kinds: vec![kind] };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.toml");
        std::fs::write(&path, format!("{DEFINITIONS}\n[stages.tables]\nkind = \"report\"\n{stage}")).unwrap();
        let loaded = load(&path, &LoadOptions::default(), &vocabulary);
        let shown = |faults: &[Diagnostic], sources: &SourceMap| render(faults, sources);
        let spec = loaded.spec.ok_or_else(|| shown(&loaded.diagnostics, &loaded.sources))?;
        let action = &spec.stages[0].actions[0];
        let resolved = ReportKind
            .resolve(&ResolveContext { spec: &spec, action })
            .map_err(|faults| shown(&faults, &loaded.sources))?;
        Ok(serde_json::from_value(resolved.params).unwrap())
    }

    #[test]
    fn titles_come_from_definitions() {
        let layout = resolve(
            r#"
            title = "Tables"
            methods = ["zero-shot", "lora"]
            [[stages.tables.tables]]
            name = "table-2"
            title = "Table 2"
            tasks = ["products"]
            [[stages.tables.tables]]
            name = "table-3"
            title = "Table 3"
            tasks = ["products"]
            metrics = ["macro-f1"]
            "#,
        )
        .unwrap();
        let titles: Vec<_> = layout.methods.iter().map(|m| m.title.as_str()).collect();
        assert_eq!(titles, ["Zero-shot", "LoRA"]);
        assert_eq!(layout.baseline, "zero-shot");
        let task = Named { name: "products".to_owned(), title: "Products-2".to_owned() };
        let columns = |metrics: &[Metric]| [TaskColumns { task: task.clone(), metrics: metrics.to_vec() }];
        assert_eq!(layout.tables[0].tasks, columns(&[Metric::Accuracy, Metric::Ua]), "the task's own");
        assert_eq!(layout.tables[1].tasks, columns(&[Metric::MacroF1]));
    }

    const PUBLISHED: &str = r#"
        title = "Tables"
        methods = ["zero-shot", "lora"]
        publication = { title = "A paper", model = "big", answer = "rank", examples = { products = { train = 8, test = 4 } } }
        choices.method.lora = { alpha = "usual", target_modules = "usual" }
        choices.pipeline.seeds = "one run"
        [[stages.tables.tables]]
        name = "table-2"
        title = "Table 2"
        tasks = ["products"]
        published = [{ title = "Other (2020)", values = [83.49, "-"] }, { title = "Big", method = "lora", values = [90, 80.5] }]
    "#;

    #[test]
    fn published_rows_and_choices_are_read() {
        let layout = resolve(PUBLISHED).unwrap();
        let rows = &layout.tables[0].published;
        assert_eq!(rows[0].values, [Some(83.49), None]);
        assert_eq!((rows[1].method.as_deref(), &*rows[1].values), (Some("lora"), &[Some(90.0), Some(80.5)][..]));
        let publication = layout.publication.unwrap();
        assert_eq!((publication.model.title.as_str(), publication.examples["products"].test), ("Big-6B", 4));
        let choices: Vec<_> = layout.choices.iter().map(|c| (c.path.as_str(), c.value.as_str())).collect();
        assert_eq!(
            choices,
            [("method.lora.alpha", "32"), ("method.lora.target_modules", "q, v"), ("pipeline.seeds", "0")]
        );
    }

    #[test]
    fn faults_of_published_rows_and_choices_are_found_at_once() {
        let bad = PUBLISHED
            .replace("[83.49, \"-\"]", "[83.49]")
            .replace("method = \"lora\", values = [90", "method = \"lara\", values = [900")
            .replace("model = \"big\"", "model = \"bog\"")
            .replace("alpha = \"usual\"", "alhpa = \"usual\"");
        let shown = resolve(&bad).unwrap_err();
        for message in [
            "1 figures for 2 columns",
            "Products-2 accuracy, Products-2 ua",
            "`lara` is not among the report's methods",
            "900 is no percentage",
            "there is no model `bog`",
            "no value `method.lora.alhpa`",
        ] {
            assert!(shown.contains(message), "{message} is missing from:\n{shown}");
        }
        let without: String =
            PUBLISHED.lines().filter(|l| !l.contains("publication =")).map(|l| format!("{l}\n")).collect();
        assert!(resolve(&without).unwrap_err().contains("published rows need a `publication`"));
    }

    #[test]
    fn all_faults_of_a_layout_are_found_at_once() {
        let shown = resolve(
            r#"
            title = "Tables"
            methods = ["lora", "lorra", "lora"]
            baseline = "zero-shot"
            [[stages.tables.tables]]
            name = "Results"
            title = "Table 2"
            tasks = ["product"]
            metrics = []
            "#,
        )
        .unwrap_err();
        for message in [
            "there is no method `lorra`",
            "the method `lora` is listed twice",
            "the baseline `zero-shot` is not among",
            "`Results` can't name a table's files",
            "there is no task `product`",
            "table `Results` has no columns",
        ] {
            assert!(shown.contains(message), "{message} is missing from:\n{shown}");
        }
    }

    fn evaluation(labels: &[String], gold: &[u32], predicted: &[Option<u32>]) -> Evaluation {
        Evaluation {
            task: TaskContext {
                name: "products".to_owned(),
                title: "Products-2".to_owned(),
                dataset: "VADER".to_owned(),
                scheme: "2".to_owned(),
                construct: "sentiment".to_owned(),
                language: "English".to_owned(),
            },
            method: MethodContext { name: "zero-shot".to_owned(), title: "Zero-shot".to_owned() },
            model: ModelContext { name: "m".to_owned(), title: "M".to_owned(), license: "MIT".to_owned() },
            seed: None,
            numerics: "cpu-f32".to_owned(),
            answer: "rank".to_owned(),
            split: "test".to_owned(),
            n: gold.len(),
            truncated: 0,
            training: None,
            metrics: Metrics::compute(labels, gold, predicted).unwrap(),
            intervals: Intervals::compute(
                labels.len(),
                gold,
                predicted,
                Bootstrap { samples: 20, ..Bootstrap::default() },
            )
            .unwrap(),
        }
    }

    /// Runs the stage on one evaluation artifact with these files.
    fn report(dir: &Path, metrics: &[u8], ids: &[&str]) -> Result<String> {
        let (json, parquet) = (dir.join("m"), dir.join("p"));
        std::fs::write(&json, metrics).unwrap();
        let columns = [string_column("id", ids), u32_column("label_id", &[0, 1]), u32_column("predicted_id", &[0, 0])];
        write_parquet(&parquet, columns.into()).unwrap();
        let files: BTreeMap<String, PathBuf> =
            [("metrics.json".to_owned(), json), ("predictions.parquet".to_owned(), parquet)].into();
        let layout = resolve(
            "title = \"T\"\nmethods = [\"zero-shot\"]\ntables = [{ name = \"t\", title = \"T\", tasks = [\"products\"] }]",
        )
        .unwrap();
        let job = Job {
            kind: "report".to_owned(),
            action: "tables".to_owned(),
            params: serde_json::to_value(layout).unwrap(),
            unkeyed: serde_json::Value::Null,
            private: serde_json::Value::Null,
            inputs: [(EVALUATIONS.to_owned(), vec![Artifact { digest: Digest::of(b"e"), files }])].into(),
            threads: 1,
            memory: 0,
            notes: Vec::new(),
        };
        let out = dir.join("out");
        std::fs::create_dir_all(&out).unwrap();
        ReportKind.run(&Context { job: &job, out: &out, work: dir, progress: &Unwatched })?;
        Ok(std::fs::read_to_string(out.join("t.md")).unwrap())
    }

    #[test]
    fn artifacts_become_a_report() {
        let labels = ["negative".to_owned(), "positive".to_owned()];
        let good = serde_json::to_vec(&evaluation(&labels, &[0, 1], &[Some(0), Some(0)])).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let page = report(dir.path(), &good, &["a", "b"]).unwrap();
        assert!(page.contains("| Zero-shot             |"), "{page}");
        assert!(page.contains("50.00 ["), "{page}");

        let error = report(dir.path(), b"{}", &["a", "b"]).unwrap_err();
        assert!(error.message.starts_with("evaluation ") && error.message.contains("metrics.json: missing field"));
        assert!(error.help.is_some());
    }
}
