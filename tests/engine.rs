//! The engine from outside: incremental runs, reasons, failures, interruptions and several runs on one store.

mod common;

use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use common::Project;

/// `words` reads a file of the project; `count` has one action per letter; `sum` gathers them. Every action appends its
/// name to `ran.log`, so that tests see what really ran.
const PIPELINE: &str = r#"
[pipeline]
name = "letters"

[axes]
letter = ["a", "b", "c"]

[params]
suffix = "!"

[stages.words]
kind = "exec"
command = ["sh", "-c", "echo words >> ran.log; tr 'A-Z' 'a-z' < words.txt > $0/words.txt", "{out}"]
files = ["words.txt"]
outputs = ["words.txt"]

[stages.count]
kind = "exec"
matrix = { letter = ["a", "b", "c"] }
inputs = { words = "words" }
command = ["sh", "-c", "echo count-${letter} >> ran.log; grep -o ${letter} $0 | wc -l > $1/count.txt", "{words}", "{out}"]
outputs = ["count.txt"]

[stages.sum]
kind = "exec"
inputs = { counts = "count" }
command = ["sh", "-c", "echo sum >> ran.log; cat $0/*/count.txt | tr -d ' ' | paste -sd+ > $1/sum.txt; echo '${params.suffix}' >> $1/sum.txt", "{counts}", "{out}"]
outputs = ["sum.txt"]
export = "reports"
"#;

fn letters() -> Project {
    let project = Project::new(PIPELINE);
    project.write("words.txt", "Abracadabra\n");
    project
}

fn log(project: &Project) -> Vec<String> {
    let mut lines: Vec<String> =
        fs::read_to_string(project.path("ran.log")).unwrap_or_default().lines().map(str::to_owned).collect();
    lines.sort();
    fs::write(project.path("ran.log"), "").unwrap();
    lines
}

/// What a larger machine computed serves on a smaller one; only what would have to run there must fit.
#[test]
fn results_serve_where_they_could_not_be_computed() {
    let project = letters();
    project.emopipe(&["run"]).ok();
    log(&project);
    let small = ["run", "--memory", "1 MiB"];
    project.emopipe(&small).ok();
    project.write("words.txt", "Mississippi\n");
    let refused = project.emopipe(&small).fails(1);
    assert!(refused.stderr().contains("words needs"), "{}", refused.stderr());
    assert!(log(&project).is_empty());
}

#[test]
fn runs_once_then_reuses_everything() {
    let project = letters();
    project.emopipe(&["run"]).ok();
    assert_eq!(project.read("reports/sum.txt"), "5+2+1\n!\n");
    assert_eq!(log(&project), ["count-a", "count-b", "count-c", "sum", "words"]);
    let again = project.emopipe(&["run"]).ok();
    assert!(again.stderr().contains("nothing to do: all 5 results"), "{}", again.stderr());
    assert!(log(&project).is_empty());
    fs::remove_file(project.path("reports/sum.txt")).unwrap();
    project.emopipe(&["run"]).ok();
    assert_eq!(project.read("reports/sum.txt"), "5+2+1\n!\n", "a deleted report comes back");
    assert!(log(&project).is_empty(), "from the store, without running anything");
}

#[test]
fn comments_and_order_rerun_nothing() {
    let project = letters();
    project.emopipe(&["run"]).ok();
    log(&project);
    let (head, stages) = PIPELINE.split_once("[stages.words]").unwrap();
    let reordered = stages.replace("outputs = [\"count.txt\"]\n", "");
    let reordered = reordered.replace("[stages.count]\n", "[stages.count] # a comment\noutputs = [ \"count.txt\" ]\n");
    let (words, rest) = reordered.split_once("[stages.count]").unwrap();
    let text = format!("# changed\n{head}[stages.count]{rest}\n\n[stages.words]{words}");
    project.write("pipeline.toml", &text);
    let again = project.emopipe(&["run"]).ok();
    assert!(again.stderr().contains("nothing to do"), "{}", again.stderr());
    assert!(log(&project).is_empty());
}

#[test]
fn a_changed_parameter_reruns_what_depends_on_it_and_plan_says_so() {
    let project = letters();
    project.emopipe(&["run"]).ok();
    log(&project);
    project.write("pipeline.toml", &PIPELINE.replace("suffix = \"!\"", "suffix = \"?\""));
    let plan = project.emopipe(&["plan"]).ok().stdout();
    assert!(plan.contains("1 to run, 4 cached"), "{plan}");
    assert!(plan.contains("parameter `command` changed"), "{plan}");
    project.emopipe(&["run"]).ok();
    assert_eq!(log(&project), ["sum"]);
    assert_eq!(project.computed(), ["sum"]);
    let explained = project.emopipe(&["explain", "sum"]).ok().stdout();
    assert!(explained.contains("parameter `command` changed"), "{explained}");
    assert!(explained.contains("input counts: count[letter=b]"), "{explained}");
}

/// Two commands that took a minute each, as a journal has it.
#[test]
fn a_forecast_respects_the_limits_of_a_run() {
    let project = Project::new(
        "[pipeline]\nname = \"two\"\n[stages.s]\nkind = \"exec\"\nmatrix = { n = [\"1\", \"2\"] }\n\
         command = [\"touch\", \"{out}/${n}\"]\noutputs = [\"${n}\"]\nresources = { memory = \"1 GiB\" }\n",
    );
    project.emopipe(&["run"]).ok();
    let digest = "0".repeat(64);
    let started =
        r#"{"time":1,"event":"run-started","run":"r","pipeline":"two","profile":null,"actions":2,"emopipe":"0"}"#;
    let finished = |n: u32| {
        format!(
            r#"{{"time":2,"event":"finished","action":"s[n={n}]","key":"{digest}","artifact":"{digest}","bytes":1,"seconds":60.0}}"#
        )
    };
    let journal = format!("{started}\n{}\n{}\n", finished(1), finished(2));
    project.write("cache/runs/99991231-235959-999-1/journal.jsonl", &journal);
    let foreseen = |limits: &[&str]| {
        let base = ["plan", "--force", "s", "--memory", "8 GiB"];
        project.emopipe(&[&base[..], limits].concat()).ok().stdout()
    };
    let (together, one, narrow) =
        (foreseen(&["--cores", "2"]), foreseen(&["--cores", "2", "--jobs", "1"]), foreseen(&["--cores", "1"]));
    assert!(together.contains("about 1m00s going by earlier runs; 2 B to write, 2.0 GiB of memory"), "{together}");
    assert!(one.contains("about 2m00s going by earlier runs; 2 B to write, 1.0 GiB of memory"), "{one}");
    assert_eq!(one, narrow, "one core is one action at a time");
    let refused = project.emopipe(&["plan", "--force", "s", "--memory", "512 MiB"]).ok().stdout();
    assert!(
        refused.contains("can't run: s[n=1] occupies") || refused.contains("can't run: s[n=2] occupies"),
        "{refused}"
    );
}

#[test]
fn a_change_that_gives_the_same_bytes_stops_early() {
    let project = letters();
    project.emopipe(&["run"]).ok();
    log(&project);
    project.write("words.txt", "ABRACADABRA\n");
    let plan = project.emopipe(&["plan"]).ok().stdout();
    assert!(plan.contains("input `words` depends on words, which runs first"), "{plan}");
    project.emopipe(&["run"]).ok();
    assert_eq!(log(&project), ["words"], "lower-cased, the words are the same as before");
    project.write("words.txt", "abc\n");
    project.emopipe(&["run"]).ok();
    assert_eq!(log(&project), ["count-a", "count-b", "count-c", "sum", "words"]);
    assert_eq!(project.read("reports/sum.txt"), "1+1+1\n!\n");
}

#[test]
fn selections_run_their_part() {
    let project = letters();
    project.emopipe(&["run", "--only", "sum"]).fails(1);
    assert!(log(&project).is_empty());
    project.emopipe(&["run", "--until", "count[letter=b]"]).ok();
    assert_eq!(log(&project), ["count-b", "words"]);
    project.emopipe(&["run", "--until", "count"]).ok();
    assert_eq!(log(&project), ["count-a", "count-c"]);
    project.emopipe(&["run", "--only", "sum"]).ok();
    assert_eq!(log(&project), ["sum"]);
    project.emopipe(&["run", "--force", "count[letter=a]"]).ok();
    assert_eq!(log(&project), ["count-a"], "the same bytes again, so the sum stays");
    let unknown = project.emopipe(&["run", "--force", "cuont"]).fails(1);
    assert!(unknown.stderr().contains("did you mean `count`?"), "{}", unknown.stderr());
}

#[test]
fn a_failure_keeps_what_is_done_and_names_the_rest() {
    let project = letters();
    let broken = PIPELINE.replace("grep -o ${letter} $0", "test ${letter} != b && grep -o ${letter} $0");
    project.write("pipeline.toml", &broken.replace("| wc -l > $1/count.txt", "> $1/count.txt"));
    let failed = project.emopipe(&["run", "--keep-going"]).fails(1);
    let text = failed.stderr();
    assert!(text.contains("failed: count[letter=b]"), "{text}");
    assert!(text.contains("skip   sum: count[letter=b] failed"), "{text}");
    assert!(text.contains("3 ran, 0 reused, 1 failed, 1 not run"), "{text}");
    log(&project);
    let again = project.emopipe(&["run", "--keep-going"]).fails(1);
    assert!(again.stderr().contains("0 ran, 3 reused, 1 failed, 1 not run"), "{}", again.stderr());
    let status = project.emopipe(&["status"]).ok().stdout();
    assert!(status.contains("2/3") && status.contains("failed: count[letter=b]"), "{status}");
}

#[test]
fn a_missing_output_is_an_error_with_a_remedy() {
    let project = Project::new(
        "[pipeline]\nname = \"x\"\n[stages.one]\nkind = \"exec\"\ncommand = [\"true\"]\noutputs = [\"a.txt\"]\n",
    );
    let failed = project.emopipe(&["run"]).fails(1);
    assert!(failed.stderr().contains("didn't write `a.txt`"), "{}", failed.stderr());
    assert!(failed.stderr().contains("help:"), "{}", failed.stderr());
}

#[test]
fn all_problems_of_a_file_come_at_once_with_their_places() {
    let project = Project::new(
        r#"
[pipeline]
name = "broken"
colour = "red"

[stages.one]
kind = "exce"

[stages.two]
kind = "exec"
comand = ["true"]
outputs = "a.txt"
inputs = { x = "on" }

[stages.three]
kind = "exec"
matrix = { letter = [] }
command = ["true"]
outputs = ["a"]

[stages.four]
kind = "exec"
command = ["true"]
outputs = ["a"]
inputs = { x = "five" }

[stages.five]
kind = "exec"
command = ["true"]
outputs = ["a"]
inputs = { x = "four" }
"#,
    );
    let text = project.emopipe(&["run"]).fails(2).stderr();
    for part in ["colour", "exce", "comand", "did you mean", "pipeline.toml:4", "pipeline.toml:7", "pipeline.toml:11"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    for part in ["`on`", "letter", "four", "five"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert!(!project.path("cache").exists(), "nothing was touched");
}

#[test]
fn ctrl_c_stops_in_good_order_and_the_next_run_goes_on() {
    let project = letters();
    project.write(
        "pipeline.toml",
        &PIPELINE.replace("echo sum >> ran.log;", "echo sum >> ran.log; test -e go || sleep 60;"),
    );
    let mut child = project.command(&["run", "pipeline.toml"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(|| fs::read_to_string(project.path("ran.log")).unwrap_or_default().contains("sum"));
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(log(&project).len(), 5);
    project.write("go", "");
    project.emopipe(&["run"]).ok();
    assert_eq!(log(&project), ["sum"]);
}

/// `kill -9` of the scheduler at seeded moments: the next run ends in the same bytes.
#[test]
fn a_killed_run_is_finished_by_the_next_one() {
    let reference = letters();
    reference.emopipe(&["run"]).ok();
    let expected = reference.read("reports/sum.txt");
    let project = letters();
    let kills = 12;
    for n in 0..kills {
        let mut child = project.command(&["run", "pipeline.toml"]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(7 * (n + 1)));
        child.kill().unwrap();
        child.wait().unwrap();
        if n % 4 == 3 {
            project.emopipe(&["run"]).ok();
            assert_eq!(project.read("reports/sum.txt"), expected);
            fs::remove_dir_all(project.path("cache")).unwrap();
        }
    }
    println!("{kills} kills");
}

#[test]
fn two_runs_on_one_store_compute_each_action_once() {
    let project = letters();
    let slow = PIPELINE.replace("echo count-${letter} >> ran.log;", "echo count-${letter} >> ran.log; sleep 0.3;");
    project.write("pipeline.toml", &slow);
    let mut children: Vec<_> =
        (0..3).map(|_| project.command(&["run", "pipeline.toml"]).stderr(Stdio::null()).spawn().unwrap()).collect();
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(log(&project), ["count-a", "count-b", "count-c", "sum", "words"]);
}

#[test]
fn an_unusable_store_is_named_with_a_remedy() {
    let project = letters();
    project.write("cache", "a file where the store should be");
    let text = project.emopipe(&["run"]).fails(1).stderr();
    assert!(text.contains("can't create the store's folder") && text.contains("cache"), "{text}");
    assert!(log(&project).is_empty());
}

#[test]
fn a_full_disk_is_named_and_the_store_stays_sound() {
    let project = letters();
    let disk = project.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&disk)
        .status()
        .is_ok_and(|s| s.success());
    if !mounted {
        eprintln!("SKIPPED: no right to mount a small filesystem here");
        return;
    }
    let store = disk.join("cache");
    project.emopipe(&["run", "--until", "words", "--store", store.to_str().unwrap()]).ok();
    let filler = disk.join("filler");
    assert!(fs::write(&filler, vec![0; 2 << 20]).is_err());
    let failed = project.emopipe(&["run", "--store", store.to_str().unwrap()]);
    let (code, text) = (failed.code(), failed.stderr());
    fs::remove_file(&filler).unwrap();
    let freed = project.emopipe(&["gc", "--store", store.to_str().unwrap()]);
    let after = project.emopipe(&["run", "--store", store.to_str().unwrap()]);
    let unmounted = std::process::Command::new("umount").arg(&disk).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("No space left") && text.contains("emopipe gc"), "{text}");
    freed.ok();
    after.ok();
    assert_eq!(log(&project).iter().filter(|l| *l == "words").count(), 1, "earlier results are kept");
}

#[test]
fn graph_schema_and_completions_print() {
    let project = letters();
    let mermaid = project.emopipe(&["graph"]).ok().stdout();
    assert!(mermaid.contains("count x 3") && mermaid.contains("-->"), "{mermaid}");
    let dot = project.emopipe(&["graph", "--format", "dot", "--actions"]).ok().stdout();
    assert!(dot.contains("count[letter=a]"), "{dot}");
    let schema = project.command(&["schema"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert!(schema.to_string().contains("outputs"));
    let completions = project.command(&["completions", "bash"]).output().unwrap();
    assert!(String::from_utf8_lossy(&completions.stdout).contains("emopipe"));
}

#[test]
fn clean_and_gc_take_back_what_they_say() {
    let project = letters();
    project.emopipe(&["run"]).ok();
    log(&project);
    project.emopipe(&["clean", "count"]).ok();
    project.emopipe(&["run"]).ok();
    assert_eq!(log(&project), ["count-a", "count-b", "count-c"]);
    project.write("pipeline.toml", &PIPELINE.replace("suffix = \"!\"", "suffix = \"?\""));
    project.emopipe(&["run"]).ok();
    log(&project);
    let list = project.emopipe(&["gc", "--dry-run"]).ok().stdout();
    assert!(list.contains("1 results and"), "{list}");
    let gone = project.emopipe(&["gc"]).ok().stdout();
    assert!(gone.contains("removed 1 results and 1 blobs"), "{gone}");
    project.emopipe(&["run"]).ok();
    assert!(log(&project).is_empty());
}

#[test]
fn a_trace_names_the_action_that_was_read() {
    let same = |name: &str| {
        format!(
            "[stages.{name}]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", \"echo 1 > $0/n\", \"{{out}}\"]\noutputs = [\"n\"]\n"
        )
    };
    // The first two are one description, the third gives the same bytes by another.
    let other = same("third").replace("echo 1", "echo  1");
    let reader = |name: &str, from: &str| {
        format!("{}inputs = {{ model = \"{from}\" }}\n", same(name).replace("echo 1", &format!("cat $1; echo {name}")))
            .replace("\"{out}\"]", "\"{out}\", \"{model}\"]")
    };
    let readers = [("a", "first"), ("b", "second"), ("c", "third")];
    let readers: String = readers.iter().map(|(name, from)| reader(name, from)).collect();
    let project = Project::new(&format!("{}{}{other}{readers}", same("first"), same("second")));
    project.emopipe(&["run", "--jobs", "1"]).ok();
    let described = project.emopipe(&["explain", "a"]).ok().stdout();
    for (name, from) in [("a", "first"), ("b", "second"), ("c", "third")] {
        let described = project.emopipe(&["explain", name]).ok().stdout();
        let key = described.split("key ").nth(1).unwrap().split(',').next().unwrap().to_owned();
        let trace = project.emopipe(&["explain", &key]).ok().stdout();
        assert!(trace.contains(&format!("model: {from}  artifact")), "{name}: {trace}");
    }
    assert!(described.contains("input model: first"), "{described}");
}

fn signal(pid: u32, name: &str) {
    assert!(
        std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success()
    );
}

fn wait_for(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited too long");
        std::thread::sleep(Duration::from_millis(10));
    }
}
