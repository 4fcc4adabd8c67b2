//! Every command of README and docs, as it stands there. They run on a small pipeline with the names of the paper's; a block that
//! fetches from the network, or needs a GPU or a bucket, is marked `<!-- only parsed: WHY -->` and parsed.

mod common;

use std::{fs, path::Path, process::Command};

use common::Project;

/// What `pipelines/paper.toml` is to these commands: its stages, axes and profiles, and a report with a cell.
const STAND_IN: &str = r#"
[pipeline]
name = "paper"
root = ".."

[remote]
url = "REMOTE"

[profile.paper]
description = "all of it"

[task.movies-2]
title = "Movies"
dataset = "movies"
scheme = "2"

[task.sst]
title = "SST"
dataset = "sst"
scheme = "2"

[axes]
task = ["movies-2"]

[method.lora]
title = "LoRA"
adapter = { kind = "lora", rank = 8 }

[stages.tokens]
kind = "exec"
matrix = { task = "all" }
command = ["sh", "-c", "echo $1 > $0/tokens", "{out}", "${task}"]
outputs = ["tokens"]

[stages.train]
kind = "exec"
matrix = { task = "all", method = "all" }
inputs = { tokens = "tokens" }
command = ["sh", "-c", "echo rank $1 > $0/adapter", "{out}", "r${method.adapter.rank}"]
outputs = ["adapter"]

[stages.evaluate]
kind = "exec"
matrix = { task = "all", method = "all" }
inputs = { adapter = "train" }
command = ["sh", "-c", "cat $1 > $0/metrics", "{out}", "{adapter}"]
outputs = ["metrics"]

[stages.tables]
kind = "exec"
inputs = { evaluations = "evaluate" }
command = ["sh", "-c", "echo method,task,metric,value,seed,evaluation > $0/results.csv; echo lora,movies-2,accuracy,0.5,0,EVALUATION >> $0/results.csv; echo > $0/table-2.csv", "{out}"]
outputs = ["results.csv", "table-2.csv"]
export = "reports"
"#;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A line of a document that begins with a program's name.
struct Shown {
    place: String,
    line: String,
    only_parsed: bool,
}

/// The lines of code blocks in README and docs: those that are indented, and those of ```console.
fn commands() -> Vec<Shown> {
    let docs = fs::read_dir(Path::new(ROOT).join("docs")).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    files.sort();
    files.insert(0, Path::new(ROOT).join("README.md"));
    let mut found = Vec::new();
    for file in files {
        let (mut marked, mut fence) = (false, None);
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                fence = if fence.is_some() { None } else { Some(language.to_owned()) };
                continue;
            }
            let command = match &fence {
                None => line.strip_prefix("    "),
                Some(language) if language == "console" => line.strip_prefix("$ "),
                Some(_) => None,
            };
            if let Some(command) = command {
                let place = format!("{}:{}", file.file_name().unwrap().to_string_lossy(), number + 1);
                found.push(Shown { place, line: command.to_owned(), only_parsed: marked });
            } else if line.starts_with("<!-- only parsed: ") {
                marked = true;
            } else if !line.is_empty() && fence.is_none() {
                marked = false;
            }
        }
    }
    found
}

/// The words of a command line, without its comment.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// A project in which all has run, and the beginning of the digest of one of its results.
fn project() -> (Project, String) {
    let project = Project::new("");
    let remote = project.path("remote");
    fs::create_dir_all(&remote).unwrap();
    for folder in ["mirror", "emotion-data"] {
        fs::create_dir_all(project.path(folder)).unwrap();
    }
    let pipeline = STAND_IN.replace("REMOTE", &remote.display().to_string());
    project.write("pipelines/paper.toml", &pipeline);
    project.write("paper.toml", &pipeline.replace("root = \"..\"", "root = \".\""));
    for _ in 0..2 {
        let ran = project.command(&["run", "pipelines/paper.toml"]).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    // The cell of the report leads to a result of this store.
    let listed = project.command(&["explain", "pipelines/paper.toml", "evaluate"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let evaluation = listed.split("artifact ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let of_cell = pipeline.replace("EVALUATION", &evaluation);
    project.write("pipelines/paper.toml", &of_cell);
    let ran = project.command(&["run", "pipelines/paper.toml"]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    (project, evaluation[..6].to_owned())
}

#[test]
fn every_command_of_the_documents_does_what_it_says() {
    let (project, digest) = project();
    let path = format!(
        "{}:{}",
        Path::new(env!("CARGO_BIN_EXE_emopipe")).parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let (mut run, mut parsed) = (0, 0);
    for Shown { place, line, only_parsed } in commands() {
        let words = words(&line);
        if words.first().is_none_or(|word| word != "emopipe") {
            continue;
        }
        if only_parsed {
            parsed += 1;
            let known = emopipe::cli::check(words.iter().map(String::as_str));
            assert!(known.is_ok(), "{place}: {line}: {known:?}");
            continue;
        }
        run += 1;
        // A digest of this store for the one that is made up.
        let mut shell = Command::new("sh");
        shell.args(["-c", &line.replace("3f2a9c", &digest)]).current_dir(project.root());
        shell.env("PATH", &path).env("HOME", project.root()).env("XDG_CONFIG_HOME", project.path(".config"));
        for name in ["EMOPIPE_STORE", "EMOPIPE_MIRROR", "EMOPIPE_DATA", "EMOPIPE_OFFLINE", "EMOPIPE_LOG"] {
            shell.env_remove(name);
        }
        let ran = shell.output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(ran.status.success(), "{place}: {line}\n{}{}", said(&ran.stdout), said(&ran.stderr));
    }
    assert!(run >= 30 && parsed >= 4, "{run} run, {parsed} parsed");
}

#[test]
fn other_programs_and_targets_are_there() {
    let makefile = fs::read_to_string(Path::new(ROOT).join("Makefile")).unwrap();
    for Shown { place, line, .. } in commands() {
        match &words(&line)[..] {
            [program, target, ..] if program == "make" => {
                assert!(makefile.contains(&format!("\n{target}:")), "{place}: no target {target}")
            }
            [shell, script, ..] if (shell == "sh" || shell == "python3") && !script.starts_with('-') => {
                assert!(Path::new(ROOT).join(script).exists(), "{place}: no {script}")
            }
            _ => {}
        }
    }
}

#[test]
fn the_first_pipeline_is_as_long_as_it_says_and_plans() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let (heading, rest) = readme.split_once("## A pipeline in ").unwrap().1.split_once('\n').unwrap();
    let pipeline = rest.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    assert_eq!(format!("{} lines", pipeline.lines().count()), heading);
    let project = Project::new("");
    fs::create_dir(project.path("datasets")).unwrap();
    for card in fs::read_dir(Path::new(ROOT).join("datasets")).unwrap().map(|e| e.unwrap().path()) {
        fs::copy(&card, project.path("datasets").join(card.file_name().unwrap())).unwrap();
    }
    project.write("mine.toml", pipeline);
    let unpinned = project.command(&["plan", "mine.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&unpinned.stderr).into_owned();
    assert!(said.contains("emopipe pin") && said.contains("1 problem"), "{said}");
    // What `pin` would write: the same file's pin in `pipelines/mini.toml`.
    let mini = fs::read_to_string(Path::new(ROOT).join("pipelines/mini.toml")).unwrap();
    let pin = mini.split("blake3 = \"").nth(1).unwrap().split('"').next().unwrap();
    project.write("mine.toml", &pipeline.replace(".gguf\" }", &format!(".gguf\", blake3 = \"{pin}\" }}")));
    let planned = project.command(&["plan", "mine.toml"]).output().unwrap();
    assert!(planned.status.success(), "{}", String::from_utf8_lossy(&planned.stderr));
    assert!(String::from_utf8_lossy(&planned.stdout).contains("mine: 6 to run"));
    // Cards that it doesn't use, some of whose files have to be fetched by hand, are no business of `pin`.
    let pinned = project.command(&["pin", "mine.toml"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&pinned.stdout), "every source is pinned\n");
    assert!(pinned.status.success());
}
