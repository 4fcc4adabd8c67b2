//! A run that could tell at a glance that there is nothing to do says and does what one would that looked at everything:
//! each case is run with and without memos, from the same state of the same folder, and both must agree.

mod common;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::SystemTime,
};

use common::Project;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const PIPELINE: &str = r#"
include = [{ path = "parts/*.toml", stages = true }]
[pipeline]
name = "letters"
[model.m]
family = "llama"
source."d.txt" = { manual = "ask for it" }
[stages.raw]
kind = "download"
from = "model.m"
[stages.words]
kind = "exec"
command = ["sh", "-c", "echo words >> ran.log; tr 'A-Z' 'a-z' < words.txt > $0/words.txt", "{out}"]
files = ["words.txt"]
outputs = ["words.txt"]
[stages.count]
kind = "exec"
matrix = { letter = ["a", "b"] }
inputs = { words = "words" }
command = ["sh", "-c", "echo count-${letter} >> ran.log; grep -o ${letter} $0 | wc -l > $1/count.txt", "{words}", "{out}"]
outputs = ["count.txt"]
[stages.sum]
kind = "exec"
inputs = { counts = "count" }
command = ["sh", "-c", "echo sum >> ran.log; cat $0/*/count.txt > $1/sum.txt; cat $0/0/count.txt > $1/a.txt", "{counts}", "{out}"]
outputs = ["sum.txt", "a.txt"]
export = "reports"
[profile.more.axes]
"#;

/// One action after the other, so that runs can be compared word by word.
const RUN: [&str; 3] = ["run", "--cores", "1"];

const PART: &str = "[stages.NAME]\nkind = \"exec\"\noutputs = [\"x\"]\n\
    command = [\"sh\", \"-c\", \"echo NAME >> ran.log; echo NAME > $0/x\", \"{out}\"]\n";

/// A project whose last runs, with and without `--locked`, had nothing to do; and a copy of it.
struct Start {
    project: Project,
    copy: tempfile::TempDir,
    /// A program that does the same and is another one.
    program: PathBuf,
}

impl Start {
    fn new() -> Self {
        let project = Project::new(PIPELINE);
        project.write("words.txt", "Abracadabra\n");
        project.write("data/m/d.txt", "by hand\n");
        for name in ["one", "two"] {
            project.write(&format!("parts/{name}.toml"), &PART.replace("NAME", name));
        }
        project.emopipe(&RUN).ok();
        project.emopipe(&["lock"]).ok();
        for _ in 0..2 {
            project.emopipe(&RUN).ok();
            project.emopipe(&[&RUN[..], &["--locked"]].concat()).ok();
        }
        let copy = tempfile::tempdir().unwrap();
        let program = copy.path().join("emopipe");
        fs::copy(env!("CARGO_BIN_EXE_emopipe"), &program).unwrap();
        copy_all(project.root(), &copy.path().join("project"));
        Self { project, copy, program }
    }

    fn restore(&self) {
        for entry in fs::read_dir(self.project.root()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        copy_all(&self.copy.path().join("project"), self.project.root());
    }

    /// What each of a series of changes leads to, and whether a glance was enough for the last.
    fn outcomes(&self, changes: &[&Change], memos: bool) -> (Vec<Outcome>, bool) {
        self.restore();
        let mut outcomes = Vec::new();
        let mut glanced = false;
        for change in changes {
            (change.make)(&self.project);
            let before = self.glances();
            outcomes.push(self.run(change, memos));
            glanced = self.glances() > before;
        }
        (outcomes, glanced)
    }

    fn run(&self, change: &Change, memos: bool) -> Outcome {
        let arguments = [&["run", "pipeline.toml"][..], &RUN[1..], change.arguments].concat();
        let mut command = if change.name == "another program" {
            let ours = self.project.command(&arguments);
            let mut other = std::process::Command::new(&self.program);
            other.args(ours.get_args()).current_dir(self.project.root());
            for (name, value) in ours.get_envs() {
                match value {
                    Some(value) => other.env(name, value),
                    None => other.env_remove(name),
                };
            }
            other
        } else {
            self.project.command(&arguments)
        };
        let held = (change.name == "being cleaned").then(|| {
            let file = File::open(self.project.path("cache/in-use.lock")).unwrap();
            file.lock().unwrap();
            file
        });
        let ran = command.env("EMOPIPE_MEMO", if memos { "on" } else { "off" }).output().unwrap();
        drop(held);
        Outcome {
            code: ran.status.code(),
            said: without_times(&String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat())),
            log: fs::read_to_string(self.project.path("ran.log")).unwrap_or_default(),
            reports: texts(&self.project.path("reports")),
            blobs: files_below(&self.project.path("cache/blobs")).len(),
            index: blake3::hash(&fs::read(self.project.path("cache/index.jsonl")).unwrap_or_default()).to_string(),
        }
    }

    /// Runs that only glanced.
    fn glances(&self) -> usize {
        let journals = files_below(&self.project.path("cache/runs"));
        journals.iter().filter(|j| fs::read_to_string(j).unwrap().contains("\"event\":\"unchanged\"")).count()
    }
}

/// All that a user sees of a run.
#[derive(Debug, PartialEq)]
struct Outcome {
    code: Option<i32>,
    said: String,
    log: String,
    reports: Vec<(PathBuf, String)>,
    blobs: usize,
    index: String,
}

/// `0.12 s` is another time in every run, as is what commands held of memory, and the name of a run's folder.
fn without_times(text: &str) -> String {
    let plain = |word: &str| match word.trim_start_matches('(').parse::<f64>() {
        Ok(_) if word.contains('.') => "TIME".to_owned(),
        _ if word.contains("/runs/") => "LOG".to_owned(),
        _ if ["KiB", "MiB"].contains(&word) => "UNIT".to_owned(),
        _ => word.to_owned(),
    };
    text.lines().map(|line| line.split(' ').map(plain).collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// What happens between two runs. In a series it may fail, since what came before is still there.
struct Change {
    name: &'static str,
    make: fn(&Project),
    arguments: &'static [&'static str],
    /// Whether a glance is enough.
    glance: bool,
}

const fn change(name: &'static str, make: fn(&Project)) -> Change {
    Change { name, make, arguments: &[], glance: false }
}

const fn arguments(name: &'static str, arguments: &'static [&'static str]) -> Change {
    Change { name, make: |_| {}, arguments, glance: false }
}

const CHANGES: &[Change] = &[
    Change { glance: true, ..change("nothing", |_| {}) },
    Change { glance: true, ..arguments("nothing, locked", &["--locked"]) },
    Change { glance: true, ..change("the same bytes again", |p| p.write("pipeline.toml", &p.read("pipeline.toml"))) },
    Change { glance: true, ..change("a file that nobody reads", |p| p.write("parts/note.txt", "x")) },
    change("a comment", |p| p.write("pipeline.toml", &format!("# new\n{}", p.read("pipeline.toml")))),
    change("a parameter", |p| p.write("pipeline.toml", &p.read("pipeline.toml").replace("\"b\"]", "\"b\", \"c\"]"))),
    change("an included file", |p| p.write("parts/one.toml", &PART.replace("NAME", "one").replace("> $0", ">> $0"))),
    change("one more file for a pattern", |p| p.write("parts/three.toml", &PART.replace("NAME", "three"))),
    change("one file less for a pattern", |p| fs::remove_file(p.path("parts/two.toml")).unwrap()),
    change("a file of a command", |p| p.write("words.txt", "abba\n")),
    change("as many bytes at the same time", |p| {
        let time = fs::metadata(p.path("words.txt")).unwrap().modified().unwrap();
        p.write("words.txt", "abracadabrb\n");
        File::options().append(true).open(p.path("words.txt")).unwrap().set_modified(time).unwrap();
    }),
    change("a command's file is gone", |p| fs::remove_file(p.path("words.txt")).unwrap()),
    change("a file by hand", |p| p.write("data/m/d.txt", "another\n")),
    change("a file by hand is gone", |p| fs::remove_file(p.path("data/m/d.txt")).unwrap()),
    change("a report is gone", |p| fs::remove_file(p.path("reports/sum.txt")).unwrap()),
    change("a report was edited", |p| p.write("reports/a.txt", "6\n")),
    Change {
        arguments: &["--overwrite"],
        ..change("a report was edited and may be replaced", |p| p.write("reports/a.txt", "6\n"))
    },
    change("it is forgotten which reports are emopipe's", |p| {
        fs::remove_file(p.path("reports/.emopipe.toml")).unwrap()
    }),
    change("a blob is gone", |p| fs::remove_file(blob(p, "abracadabra\n")).unwrap()),
    change("a blob was cut", |p| replace(&blob(p, "abracadabra\n"), b"abra")),
    change("a blob of a report has rotted", |p| replace(&blob(p, "5\n2\n"), b"5\n3\n")),
    change("an index line has rotted", |p| {
        let mut index = fs::read(p.path("cache/index.jsonl")).unwrap();
        index[100] ^= 1;
        fs::write(p.path("cache/index.jsonl"), index).unwrap();
    }),
    change("a writer of the index died", |p| {
        let index = p.read("cache/index.jsonl");
        p.write("cache/index.jsonl", &format!("{index}half a line"));
    }),
    change("results were forgotten", |p| drop(p.emopipe(&["clean", "sum"]))),
    change("a collection", |p| drop(p.emopipe(&["gc"]))),
    Change { glance: true, ..change("a repair of what is sound", |p| drop(p.emopipe(&["verify", "--repair"]))) },
    change("an acceptance", |p| {
        p.write("pipeline.toml", &p.read("pipeline.toml").replace("tr 'A-Z' 'a-z'", "tr A-Z a-z"));
        p.emopipe(&["accept", "words", "--note", "the same"]);
    }),
    change("another pipeline on the same store", |p| {
        p.write("other.toml", &PART.replace("NAME", "other"));
        p.command(&["run", "other.toml"]).output().unwrap();
    }),
    change("settings of the user", |p| {
        p.write(".config/emopipe/config.toml", "[remote]\nurl = \"/nowhere\"\npush = false\n")
    }),
    change("wrong settings of the user", |p| p.write(".config/emopipe/config.toml", "[remot]\n")),
    change("an unsent result", |p| p.write(&format!("cache/unsent/{}", "0".repeat(64)), "")),
    change("the journal that it refers to is gone", |p| fs::remove_dir_all(p.path("cache/runs")).unwrap()),
    change("the store is gone", |p| fs::remove_dir_all(p.path("cache")).unwrap()),
    change("rotten memos", |p| {
        for memo in files_below(&p.path("cache/memos")) {
            let mut bytes = fs::read(&memo).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&memo, bytes).unwrap();
        }
    }),
    change("another program", |_| {}),
    change("being cleaned", |_| {}),
    arguments("a profile", &["--profile", "more"]),
    arguments("a value", &["--set", "model.m.family=bert"]),
    arguments("a part", &["--until", "words"]),
    arguments("only a part", &["--only", "sum"]),
    arguments("force", &["--force", "words"]),
    arguments("verified", &["--verify"]),
    arguments("less memory", &["--memory", "1 MiB"]),
    arguments("another store", &["--store", "elsewhere"]),
    arguments("no such folder of data", &["--data", "elsewhere"]),
    arguments("no such mirror", &["--mirror", "elsewhere"]),
    Change {
        name: "the lock file",
        make: |p| p.write("pipeline.lock", &p.read("pipeline.lock").replace("words", "wards")),
        arguments: &["--locked"],
        glance: false,
    },
];

#[test]
fn a_glance_is_as_good_as_a_long_look() {
    let start = Start::new();
    for change in CHANGES {
        let (expected, _) = start.outcomes(&[change], false);
        let (outcome, glanced) = start.outcomes(&[change], true);
        assert_eq!(outcome, expected, "{}", change.name);
        assert_eq!(glanced, change.glance, "{}", change.name);
    }
    println!("{} changes", CHANGES.len());
}

#[test]
fn nor_does_a_series_of_changes_lead_elsewhere() {
    let start = Start::new();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let nothing = &CHANGES[0];
    let mut glances = 0;
    for _ in 0..20 {
        let mut draw = || &CHANGES[random.random_range(0..CHANGES.len())];
        // Without a change the second time leaves a memo, and the third one goes by it.
        let series = [draw(), nothing, draw(), nothing, nothing, nothing];
        let names: Vec<&str> = series.iter().map(|c| c.name).collect();
        let (expected, _) = start.outcomes(&series, false);
        let (outcomes, glanced) = start.outcomes(&series, true);
        for (i, (outcome, expected)) in outcomes.iter().zip(&expected).enumerate() {
            assert_eq!(outcome, expected, "{i} of {names:?}");
        }
        glances += usize::from(glanced);
    }
    println!("20 series, {glances} of which ended with a glance");
    assert!(glances > 5);
}

/// The results of a run that only glanced are known like those of any other.
#[test]
fn a_glance_leaves_a_journal() {
    let project = Start::new().project;
    let listed = project.emopipe(&["status", "--all"]).ok().stdout();
    assert_eq!(listed.matches("0 ran, 7 reused, 0 failed").count(), 5, "four runs, and the last one again: {listed}");
    let diff = project.command(&["diff", "last~1", "last"]).output().unwrap();
    let diff = String::from_utf8_lossy(&diff.stdout).into_owned();
    assert!(diff.contains("7 actions are the same in both"), "{diff}");
    // Collections go by when files changed: the journal that others refer to must not be older than they are.
    let journals: Vec<PathBuf> =
        files_below(&project.path("cache/runs")).into_iter().filter(|p| p.ends_with("journal.jsonl")).collect();
    for journal in &journals {
        File::options().append(true).open(journal).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    project.emopipe(&RUN).ok();
    let used = journals.iter().filter(|j| fs::metadata(j).unwrap().modified().unwrap() > SystemTime::UNIX_EPOCH);
    let used: Vec<String> = used.map(|j| fs::read_to_string(j).unwrap()).collect();
    assert!(used.len() == 1 && used[0].matches("\"event\":\"reused\"").count() == 7, "{used:?}");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn texts(folder: &Path) -> Vec<(PathBuf, String)> {
    files_below(folder).into_iter().map(|p| (p.clone(), fs::read_to_string(p).unwrap())).collect()
}

fn blob(project: &Project, text: &str) -> PathBuf {
    let blobs = files_below(&project.path("cache/blobs"));
    blobs.into_iter().find(|b| fs::read(b).unwrap() == text.as_bytes()).expect("a blob of this text")
}

fn replace(file: &Path, bytes: &[u8]) {
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}
