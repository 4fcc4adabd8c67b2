//! The paper's six datasets through the real binary: small hand-written files always, the real ones where they are at hand.

mod common;

use std::{fs, path::Path};

use common::Project;

const SMALL: &str = "tests/fixtures/datasets/paper";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

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

/// All tasks of the paper, prepared and put into a table; the profile `small` lays hand-written files under the cards.
const PIPELINE: &str = r#"
include = ["datasets/*.toml"]
[pipeline]
name = "data"
[axes]
dataset = ["sst", "friends", "mastodon", "mosi", "ch-sims", "m3ed"]

[task]
sst-2 = { title = "SST-2", dataset = "sst", scheme = "2" }
sst-5 = { title = "SST-5", dataset = "sst", scheme = "5" }
mosi-2 = { title = "MOSI-2", dataset = "mosi", scheme = "2" }
mosi-2-nonzero = { title = "MOSI-2", dataset = "mosi", scheme = "2-nonzero" }
mosi-3 = { title = "MOSI-3", dataset = "mosi", scheme = "3" }
ch-sims = { title = "CH-SIMS", dataset = "ch-sims", scheme = "2" }
mastodon = { title = "Mastodon", dataset = "mastodon", scheme = "3" }
friends = { title = "Friends", dataset = "friends", scheme = "7" }
m3ed = { title = "M3ED", dataset = "m3ed", scheme = "7" }

[stages.raw]
kind = "download"
matrix = { dataset = "all" }
from = "dataset.${dataset}"
[stages.examples]
kind = "prepare"
matrix = { task = "all" }
inputs = { raw = "raw[dataset=${task.dataset}]" }
task = "${task}"
[stages.table-1]
kind = "dataset-table"
inputs = { examples = "examples" }
export = "reports"
name = "table-1"
title = "Table 1: datasets"
notes = ["One utterance at a time."]
datasets = ["sst", "friends", "mastodon", "mosi", "ch-sims", "m3ed"]
publication = "a paper"
[stages.table-1.published]
sst = { language = "English", dialogue = false, domain = "movie reviews", utterances = 11855, test = 2210, labels = [
    "negative", "somewhat negative", "neutral", "somewhat positive", "positive",
] }
friends = { dialogue = true, dialogues = 1000, utterances = 14503, test = 2764, words = 10.7 }
mastodon = { dialogue = true, dialogues = 505, utterances = 2217, test = 1142, labels = ["positive", "neutral", "negative"] }
mosi = { dialogue = false, speakers = 89, utterances = 2199, test = 686, words = 12.0, scale = "-3 to 3" }
ch-sims = { dialogue = false, speakers = 474, utterances = 2281, test = 457, words = 15.0, scale = "-1 to 1" }
m3ed = { dialogue = true, speakers = 626, dialogues = 990, utterances = 24449, test = 4201, words = 7.4 }

[profile.small]
include = ["tests/fixtures/datasets/paper/small.toml"]
"#;

fn project() -> Project {
    let project = Project::new(PIPELINE);
    copy(&root().join("datasets"), &project.path("datasets"));
    copy(&root().join(SMALL), &project.path(SMALL));
    project
}

fn run<'a>(extra: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--profile", "small", "--offline"], extra].concat()
}

/// The summary that the action `examples[task=TASK]` left in the store.
fn summary(project: &Project, task: &str) -> serde_json::Value {
    let shown = project.emopipe(&["explain", &format!("examples[task={task}]"), "--profile", "small", "--data", SMALL]);
    let shown = shown.ok().stdout();
    let line = shown.lines().find(|l| l.ends_with("summary.json")).unwrap_or_else(|| panic!("{shown}"));
    let digest = line.split_whitespace().nth(1).unwrap();
    let mut open = vec![project.path("cache")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.to_string_lossy().replace('/', "").ends_with(digest) {
                return serde_json::from_slice(&fs::read(entry).unwrap()).unwrap();
            }
        }
    }
    panic!("no blob {digest}");
}

#[test]
fn six_datasets_become_the_table_and_a_second_run_does_nothing() {
    let project = project();
    project.emopipe(&run(&["--data", SMALL])).ok();
    let table = project.read("reports/table-1.md");
    let line = |start: &str| {
        let found = table.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start}:\n{table}"));
        found.split('|').map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("| SST "), ["SST", "here", "English", "no", "movie reviews", "-", "-", "20 (5)", "8.5", "2 or 5"]);
    assert_eq!(line("| Friends "), ["Friends", "here", "English", "yes", "TV show", "4", "8", "32 (8)", "5.6", "7"]);
    assert_eq!(line("| MOSI ")[5..], ["-", "-", "12 (3)", "4.6", "2 or 3"]);
    assert_eq!(line("| M3ED ")[2..], ["Mandarin", "yes", "TV series", "8", "8", "28 (7)", "6.6", "7"]);
    for expected in [
        "- Friends: utterances: 32 here, 14,503 published (−14,471).",
        "- Mastodon: dialogues: 4 here, 505 published (−501).",
        "- MOSI: speakers: not in the files, 89 published.",
        "- Friends: words per utterance: 5.6 here, 10.7 published.",
        "**Local copies, not the canonical bytes:** `stsa.fine.train` of SST",
        "| annotation.json ",
        "local copy, not the canonical bytes",
        "- Left out: 4 for label `non-neutral`.",
        "- Ratings of 0 count as positive: all segments are used.",
    ] {
        assert!(table.contains(expected), "{expected}:\n{table}");
    }
    assert!(!table.contains(&*project.root().to_string_lossy()), "no path of this machine");
    assert!(!table.contains("SST: classes"), "the five classes agree");

    let csv = project.read("reports/table-1.csv");
    assert!(csv.contains("\nmosi,published,NA,no,NA,89,NA,2199,686,12.0000,-3 to 3\n"), "{csv}");
    let classes = project.read("reports/table-1-classes.csv");
    assert!(classes.contains("\nfriends,7,test,disgust,1\nfriends,7,test,NA,1\n"), "{classes}");

    let friends = summary(&project, "friends");
    assert_eq!(friends["sources"][2]["name"], "Friends_test.json");
    assert_eq!(friends["sources"][2]["pin"], "local");

    let again = project.emopipe(&run(&["--data", SMALL])).ok();
    assert!(again.stderr().contains("nothing to do"), "{}", again.stderr());
    // Another folder with the same bytes is the same data.
    fs::rename(project.path(SMALL).join("mosi"), project.path("mosi")).unwrap();
    let moved = r#"dataset.mosi.source."label.csv".url=file:mosi/label.csv"#;
    let again = project.emopipe(&run(&["--data", SMALL, "--set", moved])).ok();
    assert!(again.stderr().contains("nothing to do"), "{}", again.stderr());
}

#[test]
fn files_to_be_fetched_by_hand_are_asked_for_together_and_before_anything_runs() {
    let project = project();
    let failed = project.emopipe(&run(&[])).fails(2);
    let text = failed.stderr();
    for (dataset, file) in [("mosi", "label.csv"), ("ch-sims", "label.csv"), ("m3ed", "annotation.json")] {
        assert!(
            text.contains(&format!("`{file}` of dataset.{dataset} can't be downloaded, and it isn't here")),
            "{text}"
        );
        let place = project.root().canonicalize().unwrap().join("data").join(dataset).join(file);
        assert!(text.replace(['\n', ' ', '│'], "").contains(&format!("putitat{}", place.display())), "{text}");
    }
    for part in ["https://github.com/thuiar/MMSA", "emopipe pin", "datasets/mosi.toml:", "3 problems"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(fs::read_dir(project.path("cache/runs")).unwrap().count(), 0, "nothing began");

    let planned = project.emopipe(&["plan", "--profile", "small"]).ok();
    assert!(planned.stdout().contains("run     table-1"), "{}", planned.stdout());
    assert!(planned.stderr().contains("3 problems"), "{}", planned.stderr());
    project.emopipe(&["status", "--profile", "small"]).ok();
    // What doesn't need them can be run.
    project.emopipe(&run(&["--until", "examples[task=sst-2]"])).ok();
    assert_eq!(project.computed(), ["raw[dataset=sst]", "examples[task=sst-2]"]);
    project.emopipe(&run(&["--only", "examples[task=mosi-3]"])).fails(1);

    // The default folder.
    copy(&root().join(SMALL), &project.path("data"));
    project.emopipe(&run(&["--until", "examples"])).ok();
}

#[test]
fn a_pin_in_the_card_vouches_for_a_file_and_refuses_others() {
    let project = project();
    project.emopipe(&run(&["--data", SMALL, "--until", "examples[task=mosi-3]"])).ok();
    assert_eq!(summary(&project, "mosi-3")["sources"][0]["pin"], "local");

    fs::remove_file(project.path(SMALL).join("ch-sims/label.csv")).unwrap();
    let pinned = project.emopipe(&["pin", "--profile", "small", "--data", SMALL]).fails(2);
    assert!(pinned.stdout().contains("mosi.toml: dataset.mosi.source.label.csv.blake3 = "), "{}", pinned.stdout());
    assert!(pinned.stderr().contains("`label.csv` of dataset.ch-sims"), "{}", pinned.stderr());
    assert!(project.read("datasets/mosi.toml").contains("blake3 = "));

    // The bytes are the same, so nothing is fetched again; that someone vouches for them is new.
    project.emopipe(&run(&["--data", SMALL, "--until", "examples[task=mosi-3]"])).ok();
    assert_eq!(project.computed(), ["examples[task=mosi-3]"]);
    assert_eq!(summary(&project, "mosi-3")["sources"][0]["pin"], "canonical");
    // A pin for one run isn't the card's.
    let digest = summary(&project, "mosi-3")["sources"][0]["blake3"].as_str().unwrap().to_owned();
    let set = format!(r#"dataset.mosi.source."label.csv".blake3={digest}"#);
    let until = ["--data", SMALL, "--until", "examples[task=mosi-3]", "--set", &set];
    let reused = project.emopipe(&run(&until)).ok();
    assert!(reused.stderr().contains("nothing to do"), "the local one is in the store: {}", reused.stderr());

    // Where the file isn't and nothing needs it, nobody is asked for it.
    let elsewhere = ["--data", "nowhere", "--until", "examples[task=mosi-3]"];
    project.emopipe(&run(&elsewhere)).ok();
    let forced = project.emopipe(&run(&[&elsewhere[..], &["--force", "raw[dataset=mosi]"]].concat())).fails(2);
    assert!(forced.stderr().contains("`label.csv` of dataset.mosi can't be downloaded"), "{}", forced.stderr());

    let file = format!("{SMALL}/mosi/label.csv");
    project.write(&file, &project.read(&file).replace("DENTIST", "PILOT"));
    let text = project.emopipe(&run(&["--data", SMALL, "--until", "raw[dataset=mosi]"])).fails(2).stderr();
    assert!(
        text.contains("`label.csv` of dataset.mosi has changed since it was pinned") && text.contains(&digest),
        "{text}"
    );
}

#[test]
fn faults_in_the_files_are_placed_and_nothing_is_kept_of_them() {
    let project = project();
    let fails = |file: &str, from: &str, to: &str, task: &str| {
        let path = format!("{SMALL}/{file}");
        let sound = project.read(&path);
        assert!(sound.contains(from), "{from}");
        project.write(&path, &sound.replacen(from, to, 1));
        let until = format!("examples[task={task}]");
        let text = project.emopipe(&run(&["--data", SMALL, "--until", &until])).fails(1).stderr();
        project.write(&path, &sound);
        text
    };
    for (file, from, to, task, expected) in [
        (
            "m3ed/annotation.json",
            "\"Text\": ",
            "\"Text\" ",
            "m3ed",
            "annotation.json: line 17, column 13: expected `:`",
        ),
        ("m3ed/annotation.json", "\"qiao\": {", "\"xiqiao\": {", "m3ed", "`xiqiao` is in none of the lists of splits"),
        (
            "m3ed/annotation.json",
            "\"Fear\"",
            "\"Dread\"",
            "m3ed",
            "utterance lan_2_2: unknown label `Dread`; known: Anger",
        ),
        ("mosi/label.csv", ",label,", ",score,", "mosi-2", "label.csv: no column `label`; the columns are: video_id"),
        ("mosi/label.csv", "-2.2", "-4.2", "mosi-2", "label.csv: line 2: the rating -4.2 lies in no class"),
        ("ch-sims/label.csv", ",test\n", ",train\n", "ch-sims", "dev negative"),
    ] {
        let text = fails(file, from, to, task);
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
    project.emopipe(&run(&["--data", SMALL])).ok();
}

/// A dataset of 120 rows in one file, prepared.
const LOCAL: &str = r#"
[dataset.d]
title = "D"
language = "English"
construct = "emotion"
license = "x"
read = { format = "delimited" }
fields = { text = "text", label = "label" }
split = { train = 0.7, test = 0.3 }
source."d.csv" = { url = "file:d.csv" }
[dataset.d.schemes.2]
labels = ["neg", "pos"]
[task.t]
title = "T"
dataset = "d"
scheme = "2"
[stages.raw]
kind = "download"
from = "dataset.d"
[stages.data]
kind = "prepare"
inputs = { raw = "raw" }
task = "t"
"#;

fn good_and_bad_days() -> String {
    (0..60).fold("text,label\n".to_owned(), |text, i| text + &format!("good day {i},pos\nbad day {i},neg\n"))
}

#[test]
fn a_local_file_that_was_edited_after_it_was_pinned_is_noticed_by_every_command() {
    let project = Project::new(LOCAL);
    project.write("d.csv", &good_and_bad_days());
    project.emopipe(&["pin"]).ok();
    project.emopipe(&["run"]).ok();
    project.emopipe(&["run"]).ok();
    project.write("d.csv", &good_and_bad_days().replace("good day 1,pos", "good day 1,neg"));
    for command in ["plan", "run", "status", "pin", "verify"] {
        let text = project.emopipe(&[command]).fails(2).stderr();
        assert!(text.contains("`d.csv` of dataset.d has changed since it was pinned"), "{command}: {text}");
        assert!(text.contains("emopipe pin --update"), "{command}: {text}");
    }
    let updated = project.emopipe(&["pin", "--update"]).ok();
    assert!(updated.stdout().contains("dataset.d.source.d.csv.blake3 = "), "{}", updated.stdout());
    project.emopipe(&["run"]).ok();
    assert_eq!(project.computed(), ["raw", "data"]);
    assert_eq!(project.emopipe(&["pin", "--update"]).ok().stdout(), "every source is pinned\n");
    // The file as it was is in the store.
    project.write("d.csv", &good_and_bad_days());
    project.emopipe(&["pin", "--update"]).ok();
    assert!(project.emopipe(&["run"]).ok().stderr().contains("nothing to do"));
}

#[test]
fn credentials_of_an_address_are_in_no_file_and_no_message() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap();
            let head = String::from_utf8_lossy(&request[..n]).to_lowercase();
            assert!(head.starts_with("get /d.csv?sig=t0ken ") && head.contains("authorization: basic "), "{head}");
            let body = good_and_bad_days();
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let url = format!("http://bob:pa55word@127.0.0.1:{port}/d.csv?sig=t0ken");
    let project = Project::new(&LOCAL.replace("file:d.csv", &url));
    fs::create_dir(project.path("remote")).unwrap();
    let remote = format!("remote.url=\"file://{}\"", project.path("remote").display());
    let mut said = String::new();
    for arguments in [&["pin"][..], &["plan"], &["run", "--set", &remote], &["explain", "data"], &["status"]] {
        let ran = project.emopipe(arguments).ok();
        said += &(ran.stdout() + &ran.stderr());
    }
    for (from, to) in [("http://bob", "http://bob:pa55word@[bob"), ("title = \"D\"", "titel = \"D\"")] {
        let broken = Project::new(&LOCAL.replace("file:d.csv", &url).replace(from, to));
        said += &broken.emopipe(&["plan"]).fails(2).stderr();
    }
    assert!(!said.contains("pa55word") && !said.contains("t0ken"), "{said}");
    let mut open = vec![project.path("cache"), project.path("remote")];
    let mut files = 0;
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
                continue;
            }
            files += 1;
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains("pa55word") && !text.contains("t0ken"), "{}", path.display());
        }
    }
    assert!(files > 8, "{files}");
}

/// The published files: `EMOPIPE_MIRROR` has those that can be downloaded, `EMOPIPE_DATA` those that can't.
#[test]
fn the_real_files_give_the_counts_of_their_cards() {
    let folder = |name: &str| std::env::var(name).ok().filter(|folder| !folder.is_empty());
    let (Some(mirror), Some(data)) = (folder("EMOPIPE_MIRROR"), folder("EMOPIPE_DATA")) else {
        eprintln!(
            "SKIPPED the_real_files_give_the_counts_of_their_cards: set EMOPIPE_MIRROR to a mirror of the published files, \
             and EMOPIPE_DATA to a folder with mosi/label.csv, ch-sims/label.csv and m3ed/annotation.json"
        );
        return;
    };
    let project = project();
    project.emopipe(&["run", "--offline", "--mirror", &mirror, "--data", &data]).ok();
    let table = project.read("reports/table-1.md");
    println!("{table}");
    for expected in ["11,855 (2,210)", "14,503 (2,764)", "2,217 (1,142)", "2,199 (686)", "24,449 (4,201)"] {
        assert_eq!(table.matches(expected).count(), 2, "{expected} here and published");
    }
    assert!(table.contains("- Mastodon: dialogues: 536 here, 505 published (+31)."), "{table}");
    assert!(!table.contains("of Friends"), "its files are the published ones: {table}");
}
