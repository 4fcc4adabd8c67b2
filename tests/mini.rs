//! The whole pipeline through the real binary: download, prepare, tokenise, train, evaluate, report, on a tiny model with
//! random weights and a handful of sentences.

mod common;

use std::fs;

use common::{
    Project, Ran,
    tiny::{films, write_model},
};

const PIPELINE: &str = r#"
[pipeline]
name = "tiny"
seeds = [0]

[model.tiny]
family = "llama"
title = "Tiny"
[model.tiny.source]
"config.json" = { url = "file:model/config.json" }
"model.safetensors" = { url = "file:model/model.safetensors" }
"tokenizer.json" = { url = "file:model/tokenizer.json" }
"tokenizer_config.json" = { url = "file:model/tokenizer_config.json" }

[dataset.films]
title = "Films"
language = "English"
construct = "sentiment"
license = "CC0-1.0"
read = { format = "delimited", delimiter = "\t", quoted = false, columns = ["id", "rating", "text"] }
fields = { id = ["id"], text = "text", value = "rating" }
normalize = ["collapse-whitespace", "trim"]
split = { train = 0.6, dev = 0.1, test = 0.3 }
expect = { rows = 81 }
[dataset.films.source]
"films.tsv" = { url = "file:films.tsv" }
[dataset.films.schemes.2]
labels = ["negative", "positive"]
bins = { negative = "[-4, 0)", positive = "(0, 4]" }

[task.films-2]
title = "Films-2"
dataset = "films"
scheme = "2"
instruction = "{labels}? {sentence}"
limit = { train = 32, dev = 0, test = 16 }

[method.zero-shot]
title = "zero-shot"
adapter = { kind = "none" }
[method.ptuning2]
title = "P-Tuning v2"
adapter = { kind = "ptuning2", virtual_tokens = 4, init = "text" }
batch_size = 8
[method.lora]
title = "LoRA"
adapter = { kind = "lora", rank = 4 }
batch_size = 8
learning_rate = 0.01

[stages.raw]
kind = "download"
from = "dataset.films"
[stages.backbone]
kind = "download"
from = "model.tiny"
[stages.examples]
kind = "prepare"
matrix = { task = "all" }
inputs = { raw = "raw" }
task = "${task}"
[stages.tokens]
kind = "tokenize"
matrix = { task = "all" }
inputs = { examples = "examples", model = "backbone" }
task = "${task}"
model = "tiny"
[stages.train]
kind = "train"
matrix = { task = "all", method = ["ptuning2", "lora"], seed = "all" }
inputs = { tokens = "tokens", model = "backbone" }
model = "tiny"
method = "${method}"
seed = "${seed}"
[stages.zero-shot]
kind = "evaluate"
matrix = { task = "all" }
inputs = { tokens = "tokens", model = "backbone" }
model = "tiny"
task = "${task}"
method = "zero-shot"
[stages.adapted]
kind = "evaluate"
matrix = { task = "all", method = ["ptuning2", "lora"], seed = "all" }
inputs = { tokens = "tokens", model = "backbone", adapter = "train" }
model = "tiny"
task = "${task}"
method = "${method}"
seed = "${seed}"
[stages.tables]
kind = "report"
inputs = { evaluations = ["zero-shot", "adapted"], examples = "examples" }
export = "reports"
title = "Tiny"
methods = ["zero-shot", "ptuning2", "lora"]
[[stages.tables.tables]]
name = "table-1"
title = "Films"
tasks = ["films-2"]
metrics = ["accuracy", "macro-f1"]
"#;

/// A project whose sources aren't pinned yet.
fn unpinned() -> Project {
    let project = Project::new(PIPELINE);
    write_model(&project);
    project.write("films.tsv", &films());
    project
}

fn tiny() -> Project {
    let project = unpinned();
    project.emopipe(&["pin"]).ok();
    project
}

/// All files of the reports, by name.
fn reports(project: &Project) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(project.path("reports"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .map(|n| (n.clone(), project.read(&format!("reports/{n}"))))
        .collect();
    files.sort();
    files
}

#[track_caller]
fn fails_with(ran: Ran, parts: &[&str]) {
    assert!(matches!(ran.code(), Some(1 | 2)), "{:?}\n{}", ran.code(), ran.stderr());
    for part in parts {
        assert!(ran.stderr().contains(part), "no `{part}` in:\n{}", ran.stderr());
    }
}

#[test]
fn the_whole_pipeline_gives_the_same_bytes_anywhere() {
    let one = tiny();
    let said = one.emopipe(&["run", "--cores", "1"]).ok().stderr();
    let scored = said.lines().filter(|line| line.contains("accuracy ") && line.contains(" % ("));
    let (ended, last): (Vec<&str>, Vec<&str>) = scored.partition(|line| line.starts_with("done "));
    assert!(!ended.is_empty() && ended.len() == last.len(), "each evaluation tells its score, also at the end: {said}");
    let files = reports(&one);
    let names: Vec<&str> = files.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, [".emopipe.toml", "README.md", "index.html", "results.csv", "table-1.csv", "table-1.md"]);
    let table = one.read("reports/table-1.md");
    for part in ["Films-2", "zero-shot", "P-Tuning v2", "LoRA", "Tiny"] {
        assert!(table.contains(part), "no `{part}` in:\n{table}");
    }
    assert!(one.read("reports/README.md").contains("uplicate"), "removed duplicates are reported");

    let two = tiny();
    two.emopipe(&["run", "--cores", "2", "--jobs", "1"]).ok();
    assert_eq!(reports(&two), files);

    let again = one.emopipe(&["run"]).ok();
    assert!(again.stderr().contains("nothing to do"), "{}", again.stderr());
    assert!(last.iter().all(|line| again.stderr().contains(line)), "{}", again.stderr());
}

#[test]
fn a_new_rank_reruns_lora_its_evaluation_and_the_tables_and_nothing_else() {
    let project = tiny();
    project.emopipe(&["run"]).ok();
    let set = ["--set", "method.lora.adapter.rank=2"];
    let plan = project.emopipe(&["plan", set[0], set[1]]).ok().stdout();
    assert!(plan.contains("changed: 4 -> 2"), "{plan}");
    assert!(plan.contains("3 to run"), "{plan}");
    project.emopipe(&["run", set[0], set[1]]).ok();
    let lora = "[task=films-2,method=lora,seed=0]";
    assert_eq!(project.computed(), [format!("train{lora}"), format!("adapted{lora}"), "tables".to_owned()]);
    let explained = project.emopipe(&["explain", "train[method=lora]", set[0], set[1]]).ok().stdout();
    assert!(explained.contains("changed: 4 -> 2"), "{explained}");
    project.emopipe(&["run"]).ok();
    assert!(project.computed().is_empty(), "going back finds everything");
}

#[test]
fn an_interrupted_training_ends_in_the_same_adapter() {
    let long = PIPELINE.replace("learning_rate = 0.01", "learning_rate = 0.01\nepochs = 40");
    let straight = tiny();
    let target = "train[task=films-2,method=lora,seed=0]";
    let adapter = |project: &Project| {
        let explained = project.emopipe(&["explain", target]).ok().stdout();
        explained
            .lines()
            .find(|l| l.contains("adapter_model.safetensors"))
            .unwrap_or_else(|| panic!("{explained}"))
            .to_owned()
    };
    let pinned = |project: &Project| {
        project.write("pipeline.toml", &long);
        project.emopipe(&["pin"]).ok();
    };
    pinned(&straight);
    straight.emopipe(&["run", "--until", target]).ok();
    let killed = unpinned();
    pinned(&killed);
    killed.emopipe(&["run", "--until", "tokens"]).ok();
    let mut interruptions = 0;
    for _ in 0..3 {
        let mut child = killed.command(&["run", "pipeline.toml", "--until", target]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(400));
        interruptions += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    killed.emopipe(&["run", "--until", target]).ok();
    println!("{interruptions} interruptions");
    assert_eq!(adapter(&killed), adapter(&straight));
}

#[test]
fn a_source_without_a_pin_says_what_to_do() {
    fails_with(unpinned().emopipe(&["run"]), &["emopipe pin", "films.tsv"]);
}

#[test]
fn a_file_with_another_hash_stops_the_run_before_it_begins() {
    let project = tiny();
    project.write("films.tsv", &films().replace("good", "fine"));
    fails_with(project.emopipe(&["run"]), &["`films.tsv` of dataset.films has changed", "pin --update", "help:"]);
}

#[test]
fn data_that_does_not_fit_its_card_is_named() {
    let cases: [(&str, &str, &[&str]); 4] = [
        ("text = \"text\", value", "text = \"body\", value", &["examples", "body"]),
        (
            "bins = { negative = \"[-4, 0)\", positive = \"(0, 4]\" }",
            "bins = { negative = \"[-4, 0)\", positive = \"(2, 4]\" }",
            &["1.5"],
        ),
        ("test = 0.3", "test = 0.0", &["test"]),
        ("expect = { rows = 81 }", "expect = { rows = 80 }", &["80", "81"]),
    ];
    for (from, to, parts) in cases {
        let project = tiny();
        let text = project.read("pipeline.toml");
        assert!(text.contains(from), "{from}");
        project.write("pipeline.toml", &text.replace(from, to));
        fails_with(project.emopipe(&["run"]), parts);
    }
}

#[test]
fn a_truncated_model_is_named() {
    let project = unpinned();
    let weights = fs::read(project.path("model/model.safetensors")).unwrap();
    fs::write(project.path("model/model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    project.emopipe(&["pin"]).ok();
    fails_with(project.emopipe(&["run"]), &["model.safetensors", "help:"]);
}

#[test]
fn cells_lead_to_raw_files_and_reports_say_what_was_accepted() {
    let project = tiny();
    project.emopipe(&["run"]).ok();
    let chain = project.emopipe(&["explain", "table-1:lora:films-2:accuracy"]).ok().stdout();
    let raw = blake3::hash(films().as_bytes()).to_string();
    for part in ["adapted[", "adapter: train[", "tokens: tokens[", "examples: examples[", "raw: raw", &raw, "films.tsv"]
    {
        assert!(chain.contains(part), "no `{part}` in:\n{chain}");
    }
    let wrong = project.emopipe(&["explain", "table-1:lora:films-2:acuracy"]).fails(1).stderr();
    assert!(wrong.contains("did you mean `lora:films-2:accuracy`?"), "{wrong}");

    std::thread::sleep(std::time::Duration::from_millis(1100));
    let set = ["--set", "method.lora.adapter.rank=2"];
    project.emopipe(&["run", set[0], set[1]]).ok();
    let diff = project.command(&["diff", "last~1", "last"]).output().unwrap();
    let diff = String::from_utf8_lossy(&diff.stdout).into_owned();
    assert!(diff.contains("adapter.rank") && diff.contains("trainable_parameters"), "{diff}");

    let before = project.read("reports/README.md");
    let changed = ["--set", "method.lora.weight_decay=0.5"];
    let accepted = project.emopipe(&["accept", "train", "--note", "weight decay is tiny", changed[0], changed[1]]).ok();
    assert!(accepted.stdout().contains("weight_decay"), "{}", accepted.stdout());
    project.emopipe(&["run", changed[0], changed[1]]).ok();
    assert_eq!(project.computed(), ["tables"], "only the report is written anew");
    let after = project.read("reports/README.md");
    assert!(!before.contains("weight decay is tiny") && after.contains("weight decay is tiny"), "{after}");
}

/// The pipeline with LoRA of three ranks and figures over the rank.
fn sweep() -> String {
    let ranks = [2, 8].map(|r| {
        format!("[method.lora-{r}]\ntitle = \"LoRA, rank {r}\"\nadapter = {{ kind = \"lora\", rank = {r} }}\nbatch_size = 8\nlearning_rate = 0.01\n")
    });
    let layouts = r#"
[[stages.tables.layouts]]
name = "by-rank"
title = "By rank"
kind = "curve"
x = "method.adapter.rank"
lines = "task"
[[stages.tables.layouts]]
name = "by-method"
title = "By method"
kind = "heatmap"
rows = "method"
columns = "task"
where = { stage = "adapted" }
[[stages.tables.layouts]]
name = "all"
title = "All"
rows = "method"
columns = "task"
panels = "stage"
metrics = ["accuracy", "ua"]
"#;
    let text = PIPELINE
        .replace("method = [\"ptuning2\", \"lora\"]", "method = [\"ptuning2\", \"lora\", \"lora-2\", \"lora-8\"]");
    text.replace("[stages.raw]", &format!("{}[stages.raw]", ranks.concat())) + layouts
}

#[test]
fn a_report_draws_any_axes() {
    let project = unpinned();
    project.write("pipeline.toml", &sweep());
    project.emopipe(&["pin"]).ok();
    project.emopipe(&["run"]).ok();
    let curve = project.read("reports/by-rank.csv");
    let places: Vec<&str> = curve.lines().map(|line| line.rsplitn(8, ',').last().unwrap()).collect();
    assert_eq!(places, ["task,method.adapter.rank", "films-2,2", "films-2,4", "films-2,8"], "{curve}");
    let picture = project.read("reports/by-rank.svg");
    assert_eq!(picture.matches("<circle").count(), 3 + 1, "three figures and the legend: {picture}");
    assert!(project.read("reports/by-rank.md").contains("Not shown: 2 evaluations without a value"));
    assert_eq!(project.read("reports/by-method.svg").matches("class=\"heat\"").count(), 4);
    let table = project.read("reports/all.md");
    assert!(table.contains("**stage: zero-shot**") && table.contains("| LoRA, rank 8 "), "{table}");
    let page = project.read("reports/index.html");
    assert_eq!(page.matches("class=\"plot\"").count(), 2);
    assert!(project.emopipe(&["run"]).ok().stderr().contains("nothing to do"));

    let open = project
        .read("pipeline.toml")
        .replace("rows = \"method\"\ncolumns = \"task\"\nwhere", "rows = \"stage\"\ncolumns = \"task\"\nwhere");
    project.write("pipeline.toml", &open);
    let part = "4 evaluations fall into the cell stage = adapted, task = films-2: they differ in `method`";
    fails_with(project.emopipe(&["plan"]), &[part, "by-method", "where = { method = ... }"]);
}
