//! `pipelines/paper.toml` itself, end to end: all eight tasks on small hand-written files in the six formats, with a small
//! random backbone of the paper's architecture in the published file formats.

mod common;

use std::{fs, path::Path};

use common::{
    Project, Ran,
    chatglm::{Sizes, write_chatglm},
    sentencepiece::write_tokenizer,
};
use emopipe::base::digest::Digest;

const SMALL: &str = "tests/fixtures/datasets/paper";

/// What is laid over the paper: a stand-in for the backbone, hand-written data, few steps, the CPU.
const OVERLAY: &str = r#"
include = [{ path = "paper.toml", stages = true }]

[pipeline]
default_profile = "tiny"

[profile.tiny]
inherits = "paper"
include = ["../tests/fixtures/datasets/paper/small.toml", "stand-in.toml"]
params = { model = "stand-in", device = "cpu", max_tokens = 256 }
method.ptuning2.steps = 2
method.lora.steps = 2
stages.memory.export = "reports/paper"
pipeline.goals = ["table-1", "tables", "memory"]
"#;

const WORDS: [&str; 22] = [
    "Classify",
    "the",
    "sentiment",
    "of",
    "sentence",
    "to",
    "or",
    "Negative",
    "Positive",
    "Neutral",
    "Somewhat",
    "negative",
    "positive",
    "Joy",
    "Sadness",
    "Fear",
    "Anger",
    "Surprise",
    "Disgust",
    "Happy",
    "Sad",
    "Round",
];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The paper's pipeline in a folder of its own, with a stand-in whose files `change` may spoil before they are pinned.
fn project(change: impl Fn(&Path, &mut Vec<String>)) -> Project {
    let project = Project::new("");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["datasets", "pipelines", SMALL] {
        copy(&root.join(folder), &project.path(folder));
    }
    let folder = project.path("stand-in");
    fs::create_dir(&folder).unwrap();
    let pieces = write_tokenizer(&folder.join("tokenizer.model"), &WORDS);
    // More rows than the tokenizer has ids, as the published model.
    let sizes = Sizes::tiny(pieces + 5 + 60);
    let mut files = write_chatglm(&folder, &sizes, 7);
    // As the paper's backbone: weights and tokenizer; `config.json` is the table below.
    files.retain(|f| f.ends_with(".bin"));
    files.push("tokenizer.model".to_owned());
    change(&folder, &mut files);
    let mut table = "[model.stand-in]\ntitle = \"Stand-in\"\nfamily = \"chatglm\"\ndtype = \"bf16\"\n".to_owned();
    for file in files {
        let pin = Digest::of_file(&folder.join(&file)).unwrap();
        table += &format!("[model.stand-in.source.\"{file}\"]\nurl = \"file:stand-in/{file}\"\nblake3 = \"{pin}\"\n");
    }
    table += &format!("[model.stand-in.config]\n{}", toml::to_string(&sizes.config()).unwrap());
    project.write("pipelines/stand-in.toml", &table);
    project.write("pipelines/tiny.toml", OVERLAY);
    project
}

/// Runs `emopipe COMMAND pipelines/tiny.toml ...` without a network.
fn emopipe(project: &Project, arguments: &[&str]) -> Ran {
    let fixed = [arguments[0], "pipelines/tiny.toml", "--data", SMALL];
    let mut command = project.command(&[&fixed[..], &arguments[1..]].concat());
    Ran(command.env("EMOPIPE_OFFLINE", "1").output().unwrap())
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

#[test]
fn the_papers_tables_come_out_of_its_pipeline_with_a_stand_in() {
    let project = project(|_, _| ());
    emopipe(&project, &["run"]).ok();
    let mut files: Vec<String> = fs::read_dir(project.path("reports/paper"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let tables = (2..=5).flat_map(|i| [format!("table-{i}.csv"), format!("table-{i}.md")]);
    let others = [
        ".emopipe.toml",
        "README.md",
        "index.html",
        "memory.csv",
        "memory.md",
        "results.csv",
        "table-1-classes.csv",
        "table-1.csv",
        "table-1.md",
    ];
    let mut expected: Vec<String> = tables.chain(others.map(str::to_owned)).collect();
    expected.sort();
    assert_eq!(files, expected);
    let read = |name: &str| project.read(&format!("reports/paper/{name}"));

    // Rows in the paper's order, published ones labelled, and no figure of a stand-in set against them.
    let published = [
        ("table-2", ["TFR-Net (2021)", "CHFN (2022)", "SeqSeq2Sent (2018)", "CTFN (2021)"].as_slice()),
        ("table-3", &["BT-TAPT (2021)", "SEMGraph-P (2022)", "SentiLARE (2020)", "SentiWSP (2022)"]),
        ("table-4", &["MLF-DNN (2020)", "DARER (2022)"]),
        (
            "table-5",
            &[
                "BERT+SRL-GNN-8 (2020)",
                "XLNet+SRL-GNN-8 (2020)",
                "PRE-CODE (2020)",
                "DialogueGCN (2019)",
                "DialogueRNN (2019)",
                "MDI (2022)",
            ],
        ),
    ];
    let page = read("index.html");
    for (name, others) in published {
        let table = read(&format!("{name}.md"));
        let first = |l: &str| l.strip_prefix("| ")?.split('|').next().map(|c| c.trim().to_owned());
        let of_table = table.lines().take_while(|l| !l.starts_with("## ")).filter_map(first);
        let rows: Vec<String> = of_table.filter(|c| c != "Method").collect();
        let labelled = others.iter().chain(&["ChatGLM2", "ChatGLM2 (P-Tuning)", "ChatGLM2 (LoRA)"]);
        let ours = ["zero-shot", "P-Tuning v2", "LoRA", "_most frequent class_"].map(str::to_owned);
        let wanted: Vec<String> = labelled.map(|t| format!("{t} _(published)_")).chain(ours).collect();
        assert_eq!(rows, wanted);
        holds(&table, &["the backbone is Stand-in, not ChatGLM2-6B", "Backbone: Stand-in", "Answers: generate"]);
        assert!(!table.contains("`ours − published`"), "{table}");
        let csv = read(&format!("{name}.csv"));
        let header: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
        for line in csv.lines().filter(|l| l.starts_with("measured")) {
            let cells: Vec<&str> = line.split(',').collect();
            assert_eq!(cells.len(), header.len());
            for (column, cell) in header.iter().zip(&cells) {
                assert_eq!(
                    column.ends_with(".less_published"),
                    *cell == "NA" && !column.ends_with(".deviation"),
                    "{line}"
                );
            }
        }
    }
    assert!(!page.contains("class=\"gap-row\""));
    holds(&read("table-5.csv"), &["friends.ua,", "m3ed.weighted-f1", "published,MDI (2022),NA,"]);
    holds(&read("table-2.md"), &[" 83.49 |", "| ChatGLM2 (LoRA) _(published)_"]);

    // Every task and method, by generation; what it rests on is said.
    let results = read("results.csv");
    assert_eq!(results.lines().count(), 1 + 8 * 3 * 4);
    assert!(results.lines().skip(1).all(|l| l.contains(",generate,cpu-bf16,")), "{results}");
    let readme = read("README.md");
    holds(
        &readme,
        &[
            "Rows labelled *published* are copied from arXiv 2310.14225.",
            "Not stated in arXiv 2310.14225; our choice.",
            "`method.ptuning2.learning_rate`",
            "`stages.tokens.max_tokens`",
            "`task.mosi-2.scheme`",
            "Local copies, not the canonical bytes:",
            "`annotation.json`",
        ],
    );
    holds(&read("memory.md"), &["Stand-in: ", "| MOSI-2 ", "| M3ED "]);
    holds(&read("table-1.md"), &["| published |", "1,142"]);

    let again = emopipe(&project, &["run"]).ok();
    holds(&again.stderr(), &["nothing to do"]);

    // The other way to answer shares everything up to the adapters.
    emopipe(&project, &["run", "--set", "params.answer=rank"]).ok();
    let computed = project.computed();
    assert_eq!(computed.len(), 3 * 8 + 1);
    assert!(
        computed.iter().all(|a| ["zero-shot", "adapted", "tables"].iter().any(|s| a.starts_with(s))),
        "{computed:?}"
    );
    let ranked = read("results.csv");
    assert!(ranked.lines().skip(1).all(|l| l.contains(",rank,cpu-bf16,")), "{ranked}");
    holds(&read("table-3.md"), &["answers are read by `rank`, not by `generate`"]);
}

#[test]
fn the_memory_plan_holds_what_training_takes() {
    let project = project(|_, _| ());
    let target = "train[task=sst-5,method=lora,seed=0]";
    let plan = |project: &Project| emopipe(project, &["plan", "--until", target]).ok().stdout();
    let line = |plan: &str| {
        let found = plan.lines().find(|l| l.trim_start().starts_with(&format!("{target}: ")));
        found.unwrap_or_else(|| panic!("{plan}")).to_owned()
    };
    let before = line(&plan(&project));
    assert!(before.ends_with("at most on cpu"), "{before}");
    emopipe(&project, &["run", "--until", "tokens"]).ok();
    let after = line(&plan(&project));
    assert!(after.ends_with("MiB on cpu"), "with the real lengths: {after}");
}

#[test]
fn a_machine_that_cannot_hold_it_stops_before_anything_is_fetched() {
    let project = project(|_, _| ());
    let refused = emopipe(&project, &["run", "--profile", "paper"]).fails(1);
    holds(
        &refused.stderr(),
        &["this machine can't run the profile `paper`", "nothing was fetched", "`device = \"cuda\"`"],
    );
    holds(&refused.stderr(), &["the nearest profile that fits here", "--profile tiny"]);
    let blobs = fs::read_dir(project.path("cache/blobs")).unwrap().count();
    assert_eq!(blobs, 0);
    let plan = emopipe(&project, &["plan", "--profile", "paper"]).ok().stdout();
    holds(&plan, &["to fetch: 11.6 GiB over the network", "pytorch_model-00007-of-00007.bin", "weights 11.6 GiB"]);

    let small = emopipe(&project, &["run", "--memory", "45 MiB"]).fails(1);
    holds(
        &small.stderr(),
        &[
            "and 45.0 MiB may be used",
            "gradient_accumulation_steps=8 (the same gradients",
            "no other profile of the file fits",
        ],
    );
    assert!(!small.stderr().contains("zero-shot["), "what fits is no reason: {}", small.stderr());
}

#[test]
fn spoilt_files_of_the_backbone_are_named() {
    let failed = |project: &Project, parts: &[&str]| {
        let ran = emopipe(project, &["run", "--until", "zero-shot[task=sst-2]"]).fails(1);
        holds(&ran.stderr(), parts);
        holds(&ran.stderr(), &["help:"]);
    };
    let without = |files: &mut Vec<String>| files.retain(|f| !f.ends_with("00002-of-00002.bin"));
    let missing = project(|_, files| without(files));
    failed(&missing, &["failed: zero-shot[task=sst-2]", "`pytorch_model-00002-of-00002.bin` isn't among"]);
    let listed = project(|_, files| {
        without(files);
        files.push("pytorch_model.bin.index.json".to_owned());
    });
    failed(&listed, &["failed: zero-shot[task=sst-2]", "names `pytorch_model-00002-of-00002.bin`, which isn't among"]);
    let cut = project(|folder, _| {
        let path = folder.join("tokenizer.model");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
    failed(&cut, &["failed: tokens[task=sst-2]", "tokenizer.model: not a whole SentencePiece model"]);
}

#[test]
fn long_prompts_lose_the_end_of_their_sentence_and_are_counted() {
    let project = project(|_, _| ());
    let beyond = emopipe(&project, &["run", "--until", "tokens", "--set", "params.max_tokens=600"]).fails(1);
    holds(&beyond.stderr(), &["context of 512 tokens"]);
    let short = ["--set", "params.max_tokens=88", "--set", "axes.task=[\"sst-2\", \"sst-5\"]"];
    let table = "stages.tables.tables=[{ name = \"table-3\", title = \"SST\", tasks = [\"sst-2\", \"sst-5\"] }]";
    let goals = "pipeline.goals=[\"tables\"]";
    let choices =
        ["--set", "stages.tables.methods=[\"zero-shot\"]", "--set", "stages.tables.inputs.evaluations=\"zero-shot\""];
    let set = [&["run", "--set", table, "--set", goals][..], &short, &choices].concat();
    emopipe(&project, &set).ok();
    let readme = project.read("reports/paper/README.md");
    holds(&readme, &["Test sentences cut to fit `max_tokens` or the context: SST-2 "]);
}
