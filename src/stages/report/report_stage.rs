//! The kind `report`: evaluations become tables, tests and plots.

use std::sync::Arc;

use super::{
    collect::{EVALUATIONS, EXAMPLES, dataset, runs},
    report_resolve::layout,
    report_table::Options,
};
use crate::{
    base::{
        error::{IoAt, Result},
        machine::Resources,
    },
    config::Diagnostic,
    engine::{Context, Isolation, ResolveContext, Resolved, TypedStage, Usual},
    report::{Evidence, Form, Layout, Report},
};

/// The kind `report`. Its artifact holds `README.md`, `index.html`, `results.csv`, and a `.md` and a `.csv` per table.
pub struct ReportKind;

impl TypedStage for ReportKind {
    const NAME: &'static str = "report";
    const VERSION: u32 = 3;
    const ISOLATION: Isolation = Isolation::InProcess;
    const SHOWS_NOTES: bool = true;
    type Table = Options;
    type Params = Layout;

    fn resolve(cx: &ResolveContext, options: Options) -> Result<Resolved<Layout>, Vec<Diagnostic>> {
        Ok(Resolved {
            resources: Resources { memory: 128 << 20, ..Resources::default() },
            time: Some(Arc::new(Usual(0.2))),
            ..Resolved::of(layout(cx, options)?)
        })
    }

    fn outputs(layout: &Layout) -> Option<Vec<String>> {
        let drawn = layout.figures.iter().filter(|f| f.form != Form::Table).map(|f| format!("{}.svg", f.name));
        let names = layout.tables.iter().map(|t| &t.name).chain(layout.figures.iter().map(|f| &f.name));
        let pages = names.flat_map(|name| [format!("{name}.md"), format!("{name}.csv")]).chain(drawn);
        Some(["README.md", "index.html", "results.csv"].map(str::to_owned).into_iter().chain(pages).collect())
    }

    fn run(cx: &Context, mut layout: Layout) -> Result<()> {
        layout.notes.extend(cx.job.notes.iter().cloned());
        let evidence = Evidence {
            runs: runs(cx.inputs(EVALUATIONS), &layout.axes)?,
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
        config::{self, Entry, LoadOptions, SourceMap, Vocabulary, load, render},
        data::frame::{string_column, u32_column, write_parquet},
        engine::{Artifact, Job, StageKind, Unwatched},
        eval::{
            Evaluation, MethodContext, ModelContext, TaskContext,
            bootstrap::{Bootstrap, Intervals},
            metrics::{Metric, Metrics},
        },
        report::{AxisLayout, Named, TaskColumns},
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

    /// The stage's layout, or its mistakes as a user sees them.
    fn resolve(stage: &str) -> Result<Layout, String> {
        let any = config::Entry::of::<serde_json::Value>;
        let kind = crate::engine::vocabulary_entry(&ReportKind);
        let evaluate =
            Entry { name: "evaluate", check: Box::new(|_| Vec::new()), ..crate::engine::vocabulary_entry(&ReportKind) };
        let vocabulary = Vocabulary {
            definitions: vec![any("task"), any("method"), any("model")],
            stage_kinds: vec![kind, evaluate],
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.toml");
        std::fs::write(&path, format!("{DEFINITIONS}\n[stages.tables]\nkind = \"report\"\n{stage}")).unwrap();
        let loaded = load(&path, &LoadOptions::default(), &vocabulary);
        let shown = |diagnostics: &[Diagnostic], sources: &SourceMap| render(diagnostics, sources);
        let spec = loaded.spec.ok_or_else(|| shown(&loaded.diagnostics, &loaded.sources))?;
        let action = &spec.stage("tables").unwrap().actions[0];
        let resolved = ReportKind
            .resolve(&ResolveContext { spec: &spec, action })
            .map_err(|diagnostics| shown(&diagnostics, &loaded.sources))?;
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

    const AXES: &str = r#"
        title = "Sweep"
        inputs = { evaluations = ["plain", "sweep"] }
        [[stages.tables.layouts]]
        name = "by-rank"
        title = "By rank"
        kind = "curve"
        x = "rank"
        lines = "method"
        metric = "macro-f1"
        where = { rate = 0.001 }
        [[stages.tables.layouts]]
        name = "by-alpha"
        title = "By alpha"
        rows = "method.alpha"
        columns = "rank"
        where = { rate = 0.1 }
        [stages.sweep]
        kind = "evaluate"
        matrix = { rank = [16, 4, 2], method = ["lora"], rate = [1e-3, 0.1], seed = [0, 1] }
        task = "products"
        method = "${method}"
        seed = "${seed}"
        [stages.plain]
        kind = "evaluate"
        task = "products"
    "#;

    #[test]
    fn layouts_know_the_axes_of_evaluations() {
        let layout = resolve(AXES).unwrap();
        let [curve, table] = &layout.figures[..] else { panic!("{:?}", layout.figures) };
        let names = |axis: &Option<AxisLayout>| -> Vec<String> {
            axis.iter().flat_map(|axis| axis.values.iter().map(|v| v.name.clone())).collect()
        };
        assert_eq!(
            (names(&curve.columns), curve.metrics.as_slice()),
            (["2", "4", "16"].map(str::to_owned).to_vec(), &[Metric::MacroF1][..])
        );
        assert_eq!(curve.rows.as_ref().unwrap().values[1].title, "LoRA", "by the definition");
        assert_eq!(names(&table.rows), ["32"], "a field of a definition is an axis");
        assert_eq!(names(&table.columns), ["16", "4", "2"], "in the order of the file");
        assert_eq!(layout.axes.len(), 13);
        assert_eq!(layout.axes[0]["stage"], "plain", "inputs come in the order of their names");
        assert_eq!((&*layout.axes[0]["method"], layout.axes[0].contains_key("rank")), ("zero-shot", false));
        assert_eq!(layout.axes[12]["rank"], "4", "the text of `rank=4` is the last one");
        let outputs = ReportKind.outputs(&serde_json::to_value(&layout).unwrap()).unwrap();
        assert!(outputs.contains(&"by-rank.svg".to_owned()) && !outputs.contains(&"by-alpha.svg".to_owned()));
    }

    #[test]
    fn a_layout_without_axes_is_not_in_the_parameters() {
        let params = serde_json::to_value(resolve(PUBLISHED).unwrap()).unwrap();
        for key in ["figures", "in_tables", "axes"] {
            assert!(params.get(key).is_none(), "{key} would change the keys of reports that have none");
        }
    }

    #[test]
    fn mistakes_in_layouts_are_told_where_they_stand() {
        let mut missing = Vec::new();
        for (from, to, messages) in [
            (
                "x = \"rank\"",
                "x = \"rnak\"",
                &["no evaluation of this report has an axis `rnak`", "did you mean `rank`?", "x = \"rnak\""][..],
            ),
            ("\"method.alpha\"", "\"method.alhpa\"", &["axis `method.alhpa`", "did you mean `method.alpha`?"]),
            (
                "x = \"rank\"\n        lines = \"method\"",
                "x = \"method\"",
                &["curves need an axis of numbers, and `method` has `zero-shot`"],
            ),
            (
                "where = { rate = 0.001 }",
                "",
                &[
                    "4 evaluations fall into the cell method = lora, rank = 2: they differ in `rate`",
                    "where = { rate = ... }",
                ],
            ),
            ("rate = 0.001", "rate = 0.002", &["no evaluation of this report has `rate = 0.002`", "`0.1`"]),
            ("rate = 0.001", "rtae = 0.001", &["axis `rtae`", "did you mean `rate`?"]),
            (
                "lines = \"method\"",
                "rows = \"method\"",
                &["`rows` says nothing in a layout of the kind `curve`", "`x`, `lines`, `panels`, `metric`"],
            ),
            ("lines = \"method\"", "lines = \"rank\"", &["the axis `rank` is used twice"]),
            ("lines = \"method\"", "line = \"method\"", &["unknown key `line`", "`lines`"]),
            ("rows = \"method.alpha\"", "", &["a layout of the kind `table` needs `rows`"]),
            ("columns = \"rank\"", "columns = \"seed\"", &["`seed` is no axis of a layout"]),
            ("kind = \"curve\"", "kind = \"curves\"", &["curves", "curve"]),
            ("\"by-alpha\"", "\"by-rank\"", &["the table `by-rank` is listed twice"]),
            (
                "title = \"Sweep\"",
                "title = \"Sweep\"\nmethods = [\"zero-shot\", \"lora\"]\ntables = [{ name = \"t\", title = \"T\", tasks = [\"products\"] }]",
                &["12 evaluations fall into the cell", "they differ in `rank`, `rate`"],
            ),
        ] {
            assert!(AXES.contains(from), "{from}");
            let shown = resolve(&AXES.replacen(from, to, 1)).map_or_else(|diagnostics| diagnostics, |_| String::new());
            let absent = messages.iter().filter(|message| !shown.contains(**message));
            missing.extend(absent.map(|message| format!("{to}: {message} is missing from:\n{shown}")));
        }
        assert!(missing.is_empty(), "{}", missing.join("\n"));
        let fixed = AXES.replacen("title = \"Sweep\"", "title = \"Sweep\"\nmethods = [\"zero-shot\", \"lora\"]\nwhere = { rank = 4, rate = 0.1 }\ntables = [{ name = \"t\", title = \"T\", tasks = [\"products\"] }]", 1);
        assert_eq!(resolve(&fixed).unwrap().in_tables["rate"], ["0.1"]);
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
