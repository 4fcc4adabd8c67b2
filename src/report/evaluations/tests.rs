//! Reports of made-up evaluations.

use std::collections::BTreeMap;

use super::{super::named::Named, *};
use crate::{
    base::digest::Digest,
    eval::{
        Evaluation, MethodContext, ModelContext, TaskContext, TrainingContext,
        bootstrap::{Bootstrap, Intervals},
        metrics::{Metric, Metrics},
    },
};

fn named(name: &str, title: &str) -> Named {
    Named { name: name.to_owned(), title: title.to_owned() }
}

fn columns(name: &str, title: &str, metrics: &[Metric]) -> TaskColumns {
    TaskColumns { task: named(name, title), metrics: metrics.to_vec() }
}

/// The layout with a publication's rows in its first table, made with `model` on `test` examples of products-2.
fn beside_a_publication(model: &str, test: u64) -> Layout {
    let mut layout = layout();
    layout.publication = Some(Publication {
        title: "A paper (2024)".to_owned(),
        model: named(model, "Big-6B"),
        files_replaced: false,
        answer: "rank".to_owned(),
        examples: [("products-2".to_owned(), SplitSizes { train: 1000, test })].into(),
    });
    let row = |title: &str, method: Option<&str>, values: [Option<f64>; 4]| PublishedRow {
        title: title.to_owned(),
        method: method.map(str::to_owned),
        values: values.to_vec(),
    };
    layout.tables[0].published = vec![
        row("Special (2021)", None, [Some(83.49), None, None, None]),
        row("Big", Some("zero-shot"), [Some(60.0), Some(61.0), Some(50.0), Some(50.0)]),
        row("Big (LoRA)", Some("lora"), [Some(95.0), None, Some(50.0), Some(50.0)]),
    ];
    layout.choices = vec![Choice {
        path: "method.lora.alpha".to_owned(),
        value: "32".to_owned(),
        reason: "the usual default".to_owned(),
    }];
    layout
}

fn layout() -> Layout {
    Layout {
        title: "Sentiment with a small model".to_owned(),
        intro: "Three conditions, `one` frozen backbone.".to_owned(),
        notes: vec!["A small profile: these are not the figures of any paper.".to_owned()],
        methods: vec![named("zero-shot", "Zero-shot"), named("ptuning2", "P-Tuning v2"), named("lora", "LoRA")],
        baseline: "zero-shot".to_owned(),
        comparison: Bootstrap { samples: 200, ..Bootstrap::default() },
        tables: vec![
            TableLayout {
                name: "table-2".to_owned(),
                title: "Table 2: product reviews".to_owned(),
                tasks: vec![
                    columns("products-2", "Products-2", &[Metric::Accuracy, Metric::MacroF1]),
                    columns("products-3", "Products-3", &[Metric::Accuracy, Metric::MacroF1]),
                ],
                published: Vec::new(),
            },
            TableLayout {
                name: "table-5".to_owned(),
                title: "Table 5: tweets | posts".to_owned(),
                tasks: vec![columns("tweets-3", "Tweets-3", &[Metric::Accuracy, Metric::WeightedF1, Metric::Ua])],
                published: Vec::new(),
            },
        ],
        publication: None,
        choices: Vec::new(),
        figures: Vec::new(),
        in_tables: BTreeMap::new(),
        axes: Vec::new(),
    }
}

/// `n` examples of which `wrong` in every ten are answered with the next label.
fn run(task: &str, labels: &[&str], method: (&str, &str), seed: Option<i64>, n: usize, wrong: usize) -> Run {
    let labels: Vec<String> = labels.iter().map(|l| (*l).to_owned()).collect();
    let k = labels.len() as u32;
    let mix = |i: usize| (i * 7 + seed.unwrap_or(0) as usize * 3) % 10;
    let rows = (0..n).map(|i| {
        let gold = (i as u32 * i as u32 + i as u32 / 3) % k;
        let answer = if mix(i) < wrong { (gold + 1) % k } else { gold };
        (format!("example-{i:04}"), gold, (i % 97 != 13).then_some(answer))
    });
    let predictions = Predictions::new(rows.collect());
    let (gold, predicted) = (predictions.gold(), predictions.predicted());
    let few = Bootstrap { samples: 100, ..Bootstrap::default() };
    let evaluation = Evaluation {
        task: TaskContext {
            name: task.to_owned(),
            title: task.to_owned(),
            dataset: "VADER".to_owned(),
            scheme: format!("{k}-class"),
            construct: if task == "tweets-3" { "emotion" } else { "sentiment" }.to_owned(),
            language: "English".to_owned(),
        },
        method: MethodContext { name: method.0.to_owned(), title: method.1.to_owned() },
        model: ModelContext {
            name: "smollm2-135m".to_owned(),
            title: "SmolLM2-135M-Instruct".to_owned(),
            license: "Apache-2.0".to_owned(),
        },
        seed,
        numerics: "cpu-f32".to_owned(),
        answer: "rank".to_owned(),
        split: "test".to_owned(),
        n,
        truncated: 1,
        training: (method.0 != "zero-shot").then(|| TrainingContext {
            adapter: method.0.to_owned(),
            steps: 120,
            examples: 1000,
            epochs: 1.92,
            batch_size: 16,
            learning_rate: if method.0 == "lora" { 1e-3 } else { 2e-2 },
            trainable_parameters: 460_800,
            loss: (0..120).map(|s| 0.3 + 1.2 / (1.0 + s as f32 * 0.1) + (s * 37 % 11) as f32 * 0.02).collect(),
        }),
        metrics: Metrics::compute(&labels, gold, predicted).unwrap(),
        intervals: Intervals::compute(labels.len(), gold, predicted, few).unwrap(),
    };
    let digest = Digest::of(format!("{task} {} {seed:?}", method.0).as_bytes());
    Run { digest, evaluation, predictions, axes: BTreeMap::new() }
}

/// Two tables: two seeds for one method, a method worse than the baseline on one task, a cell without evaluation.
fn evidence() -> Evidence {
    let (zero, ptuning, lora) = (("zero-shot", "Zero-shot"), ("ptuning2", "P-Tuning v2"), ("lora", "LoRA"));
    let two = ["negative", "positive"];
    let three = ["negative", "neutral", "positive"];
    Evidence {
        runs: vec![
            run("products-2", &two, zero, None, 200, 4),
            run("products-2", &two, ptuning, Some(0), 200, 2),
            run("products-2", &two, ptuning, Some(1), 200, 1),
            run("products-2", &two, lora, Some(0), 200, 1),
            run("products-3", &three, zero, None, 200, 3),
            run("products-3", &three, ptuning, Some(0), 200, 5),
            run("tweets-3", &three, zero, None, 150, 6),
            run("tweets-3", &three, lora, Some(0), 150, 5),
        ],
        datasets: vec![DatasetFacts {
            dataset: "vader-products".to_owned(),
            scheme: "2".to_owned(),
            scheme_note: Some("Cut at 0; the interval around it is left out.".to_owned()),
            construct: "sentiment".to_owned(),
            language: "English".to_owned(),
            license: "MIT".to_owned(),
            labels: two.map(str::to_owned).to_vec(),
            rows: 3708,
            removed: vec![("duplicates".to_owned(), 108), ("rows without a class".to_owned(), 600)],
            duplicates: "12 texts occur with more than one class.".to_owned(),
            available: 3000,
            splits: vec![
                SplitFacts { name: "train".to_owned(), counts: vec![400, 600], total: 1000 },
                SplitFacts { name: "test".to_owned(), counts: vec![80, 120], total: 200 },
            ],
            local: vec!["ratings.txt".to_owned()],
            notes: vec!["Ratings are means over 20 raters.".to_owned()],
        }],
    }
}

fn files(layout: &Layout, evidence: &Evidence) -> BTreeMap<String, String> {
    Report::build(layout, evidence).unwrap().files().unwrap().into_iter().collect()
}

#[test]
fn markdown_and_csv() {
    let files = files(&layout(), &evidence());
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["README.md", "index.html", "results.csv", "table-2.csv", "table-2.md", "table-5.csv", "table-5.md"]
    );
    insta::assert_snapshot!("README.md", files["README.md"]);
    insta::assert_snapshot!("table-2.md", files["table-2.md"]);
    insta::assert_snapshot!("table-2.csv", files["table-2.csv"]);
    insta::assert_snapshot!("results.csv", files["results.csv"]);
}

#[test]
fn titles_and_labels_break_no_table_and_begin_no_formula() {
    let (mut layout, mut evidence) = (beside_a_publication("small", 100), evidence());
    let evil = "a | b\n2nd line\u{1b}[31m\t<b> c\\";
    layout.title = evil.to_owned();
    layout.methods.iter_mut().for_each(|method| method.title.push_str(evil));
    for table in &mut layout.tables {
        table.title.push_str(evil);
        table.tasks.iter_mut().for_each(|columns| columns.task.title.push_str(evil));
        table.published.iter_mut().for_each(|row| row.title = format!("=1+1{evil}"));
    }
    for run in &mut evidence.runs {
        run.evaluation.metrics.labels.iter_mut().for_each(|label| label.push_str(evil));
        run.evaluation.metrics.per_class.iter_mut().for_each(|class| class.label.push_str(evil));
        run.evaluation.model.title.push_str(evil);
    }
    for facts in &mut evidence.datasets {
        facts.labels.iter_mut().for_each(|label| label.push_str(evil));
        facts.license = evil.to_owned();
    }
    for (name, text) in files(&layout, &evidence) {
        let control = text.chars().find(|c| c.is_control() && *c != '\n');
        assert!(control.is_none() && !text.contains("\n2nd line"), "{name}: {control:?}");
        if name.ends_with(".md") {
            let cells = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
            let tables = text.split("\n\n").filter(|block| block.starts_with('|'));
            for table in tables {
                let counts: Vec<_> = table.lines().filter(|line| line.starts_with('|')).map(cells).collect();
                assert!(counts.iter().all(|count| *count == counts[0]), "{name}:\n{table}");
            }
        } else if name.ends_with(".csv") {
            let mut rows = ::csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            for cell in rows.records().flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>()) {
                let formula = cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err();
                assert!(!formula, "{name}: {cell}");
            }
        }
    }
}

#[test]
fn the_page_is_self_contained_and_whole() {
    for layout in [layout(), beside_a_publication("smollm2-135m", 200)] {
        whole(&files(&layout, &evidence())["index.html"]);
    }
}

fn whole(page: &str) {
    for outside in ["http:", "https:", "<script", "@import", "url("] {
        assert!(!page.contains(outside), "the page refers to {outside}");
    }
    for tag in ["table", "tr", "td", "th", "figure", "section", "svg", "details", "ul", "li", "g", "p"] {
        let open = page.matches(&format!("<{tag} ")).count() + page.matches(&format!("<{tag}>")).count();
        assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
    for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(page.contains(&format!("id=\"{link}\"")), "nothing has the id {link}");
    }
    assert_eq!(page.matches("<svg class=\"curves\"").count(), 3);
    assert_eq!(page.matches("class=\"confusion\"").count(), 7);
    assert!(page.contains("<td class=\"missing first\">missing</td>"));
    assert!(page.contains("Table 5: tweets | posts") && page.contains("<code>one</code>"));
}

#[test]
fn ours_stand_against_published_figures_only_where_they_were_made_alike() {
    let files = files(&beside_a_publication("smollm2-135m", 200), &evidence());
    insta::assert_snapshot!("published/table-2.md", files["table-2.md"]);
    insta::assert_snapshot!("published/table-2.csv", files["table-2.csv"]);
    let readme = &files["README.md"];
    assert!(readme.contains("Rows labelled *published* are copied from A paper (2024)."), "{readme}");
    assert!(!readme.contains("None is taken from a publication"));
    assert!(readme.contains("Not stated in A paper (2024); our choice."));
    assert!(readme.contains("| `method.lora.alpha` | 32    | the usual default"), "{readme}");
    let page = &files["index.html"];
    assert_eq!(page.matches("class=\"published-row\"").count(), 3);
    assert_eq!(page.matches("class=\"gap-row\"").count(), 2);
    assert!(!files["table-5.md"].contains("ublished"), "{}", files["table-5.md"]);
}

#[test]
fn a_stand_in_is_never_set_against_published_figures() {
    let reasons = |layout: &Layout, evidence: &Evidence| {
        let files = files(layout, evidence);
        let (table, page) = (&files["table-2.md"], &files["index.html"]);
        assert!(table.contains("Special (2021) _(published)_"));
        assert!(!table.contains("_ours − published_ |") && !page.contains("class=\"gap-row\""), "{table}");
        assert!(files["table-2.csv"].lines().filter(|l| l.starts_with("measured")).all(|l| l.ends_with("NA")));
        table.lines().find(|l| l.contains("No difference is shown")).unwrap().to_owned()
    };
    assert!(
        reasons(&beside_a_publication("big", 200), &evidence())
            .contains("the backbone is SmolLM2-135M-Instruct, not Big-6B")
    );
    let fewer = reasons(&beside_a_publication("smollm2-135m", 1821), &evidence());
    assert!(fewer.contains("products-2 has 200 test examples, not 1,821"), "{fewer}");
    assert!(fewer.contains("nothing is known of the published examples of products-3"), "{fewer}");

    let mut replaced = beside_a_publication("smollm2-135m", 200);
    if let Some(publication) = &mut replaced.publication {
        publication.files_replaced = true;
    }
    assert!(reasons(&replaced, &evidence()).contains("files of Big-6B were replaced by others"));

    let mut generated = evidence();
    generated.runs.iter_mut().for_each(|r| r.evaluation.answer = "generate".to_owned());
    assert!(reasons(&beside_a_publication("smollm2-135m", 200), &generated).contains("by `generate`, not by `rank`"));
}

#[test]
fn order_of_evidence_and_thread_count_change_nothing() {
    let mut reversed = evidence();
    reversed.runs.reverse();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let alone = pool.install(|| files(&layout(), &reversed));
    assert_eq!(files(&layout(), &evidence()), alone);
}

#[test]
fn nothing_evaluated_is_a_report_of_missing_cells() {
    let files = files(&layout(), &Evidence::default());
    assert!(files["table-2.md"].contains("| LoRA        |"));
    assert!(files["table-2.md"].contains("Missing (no evaluation reached this report): Zero-shot on Products-2;"));
    assert!(files["table-2.csv"].contains("NA,lora,NA,0,NA"));
}

#[test]
fn several_models_get_rows_of_their_own() {
    let mut both = evidence();
    let mut other = run("products-2", &["negative", "positive"], ("lora", "LoRA"), Some(0), 200, 3);
    other.evaluation.model =
        ModelContext { name: "big".to_owned(), title: "Big".to_owned(), license: "MIT".to_owned() };
    both.runs.push(other);
    let files = files(&layout(), &both);
    assert!(files["table-2.md"].contains("| Big (LoRA)"));
    assert!(files["table-2.md"].contains("| SmolLM2-135M-Instruct (LoRA)"));
}

fn error(change: impl Fn(&mut Evidence)) -> String {
    let mut bad = evidence();
    change(&mut bad);
    Report::build(&layout(), &bad).unwrap_err().message
}

#[test]
fn figures_that_cannot_be_compared_are_refused() {
    let two = ["negative", "positive"];
    let other_size = run("products-2", &two, ("lora", "LoRA"), Some(7), 150, 1);
    assert!(error(|e| e.runs.push(other_size.clone())).contains("different examples: 200 of zero-shot"));

    let twice = run("products-2", &two, ("lora", "LoRA"), Some(0), 200, 2);
    assert!(
        error(|e| e.runs.push(twice.clone())).contains("two evaluations of model `smollm2-135m`, task `products-2`")
    );

    let torn = error(|e| e.runs[0].predictions = Predictions::default());
    assert!(torn.contains("metrics of 200 examples and predictions for 0"), "{torn}");
}

fn axis(name: &str, values: &[(&str, &str)]) -> Option<AxisLayout> {
    Some(AxisLayout { name: name.to_owned(), values: values.iter().map(|(name, title)| named(name, title)).collect() })
}

/// LoRA of four ranks and prefixes of two lengths on two tasks; training on one task, testing on another.
fn sweep() -> (Layout, Evidence) {
    let (two, ranks) = (["negative", "positive"], ["1", "4", "16", "64"]);
    let mut runs = Vec::new();
    for (task, harder) in [("products-2", 0), ("films-2", 1)] {
        for (i, rank) in ranks.iter().enumerate() {
            for (method, worse) in [(("lora", "LoRA"), 0), (("ptuning2", "P-Tuning v2"), 1)] {
                for seed in [0, 1] {
                    let mut one = run(task, &two, method, Some(seed), 120, 5 - i + harder + worse);
                    let pairs = [
                        ("task", task),
                        ("method", method.0),
                        ("rank", *rank),
                        ("seed", if seed == 0 { "0" } else { "1" }),
                    ];
                    one.axes = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
                    one.digest = Digest::of(format!("{:?}", one.axes).as_bytes());
                    runs.push(one);
                }
            }
        }
    }
    // One cell without a figure, and an evaluation without a rank.
    runs.retain(|r| r.axes["rank"] != "16" || r.axes["task"] != "films-2" || r.axes["method"] != "ptuning2");
    let mut plain = run("films-2", &two, ("zero-shot", "Zero-shot"), None, 120, 5);
    plain.axes = [("task".to_owned(), "films-2".to_owned()), ("method".to_owned(), "zero-shot".to_owned())].into();
    runs.push(plain);

    let tasks = [("products-2", "Products-2"), ("films-2", "Films-2 | <all>")];
    let methods = [("lora", "LoRA"), ("ptuning2", "P-Tuning v2")];
    let by_rank: Vec<_> = ranks.iter().map(|r| (*r, *r)).collect();
    let figure = |name: &str, form, metrics: &[Metric]| FigureLayout {
        name: name.to_owned(),
        title: format!("By {name}"),
        form,
        panels: axis("task", &tasks),
        rows: axis("method", &methods),
        columns: axis("rank", &by_rank),
        metrics: metrics.to_vec(),
        only: Selection::new(),
    };
    let layout = Layout {
        methods: Vec::new(),
        baseline: String::new(),
        tables: Vec::new(),
        figures: vec![
            figure("curve", Form::Curve, &[Metric::Accuracy]),
            figure("heatmap", Form::Heatmap, &[Metric::MacroF1]),
            FigureLayout {
                rows: axis("rank", &by_rank),
                columns: None,
                panels: None,
                only: [("task", "films-2"), ("method", "lora")].map(|(k, v)| (k.to_owned(), vec![v.to_owned()])).into(),
                ..figure("table", Form::Table, &[Metric::Accuracy, Metric::Ua])
            },
        ],
        ..layout()
    };
    (layout, Evidence { runs, datasets: Vec::new() })
}

#[test]
fn any_axes_make_tables_curves_and_heat_maps() {
    let (layout, evidence) = sweep();
    let files = files(&layout, &evidence);
    if let Ok(folder) = std::env::var("EMOPIPE_TEST_REPORT") {
        files.iter().for_each(|(name, text)| std::fs::write(std::path::Path::new(&folder).join(name), text).unwrap());
    }
    let names: Vec<_> = files.keys().map(String::as_str).filter(|n| !n.starts_with(['R', 'i', 'r'])).collect();
    let expected =
        ["curve.csv", "curve.md", "curve.svg", "heatmap.csv", "heatmap.md", "heatmap.svg", "table.csv", "table.md"];
    assert_eq!(names, expected);
    insta::assert_snapshot!("figures/curve.svg", files["curve.svg"]);
    insta::assert_snapshot!("figures/heatmap.svg", files["heatmap.svg"]);
    insta::assert_snapshot!("figures/heatmap.md", files["heatmap.md"]);
    insta::assert_snapshot!("figures/table.md", files["table.md"]);
    insta::assert_snapshot!("figures/curve.csv", files["curve.csv"]);
    assert!(files["README.md"].contains("![By curve](curve.svg)"), "{}", files["README.md"]);
    assert!(files["results.csv"].lines().next().unwrap().ends_with(",axis.method,axis.rank,axis.seed,axis.task"));
    let page = &files["index.html"];
    assert_eq!(page.matches("class=\"plot\"").count(), 2);
    assert!(page.contains("Films-2 | &lt;all&gt;") && !page.contains("<all>"), "titles are escaped in pictures, too");
    assert!(!page.contains("id=\"tasks\""), "details are those of tables");
}

#[test]
fn the_order_of_evidence_changes_no_figure() {
    let (layout, mut evidence) = sweep();
    let before = files(&layout, &evidence);
    evidence.runs.reverse();
    assert_eq!(files(&layout, &evidence), before);
}
