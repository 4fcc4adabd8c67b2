//! What a store has to be trusted for: rot is found and healed, collections take nothing that is needed, locks and lock files
//! hold, and whatever isn't deterministic is shown.

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use common::{Project, journals};

/// `words` reads a file of the project, `count` has one action per letter, `sum` gathers and is exported. Every action
/// appends its name to `ran.log`.
const PIPELINE: &str = r#"
[pipeline]
name = "NAME"

[stages.words]
kind = "exec"
command = ["sh", "-c", "echo words >> ran.log; SLEEP tr 'A-Z' 'a-z' < words.txt > $0/words.txt", "{out}"]
files = ["words.txt"]
outputs = ["words.txt"]

[stages.count]
kind = "exec"
matrix = { letter = ["a", "b", "c"] }
inputs = { words = "words" }
command = ["sh", "-c", "echo count-${letter} >> ran.log; SLEEP grep -o ${letter} $0 | wc -l > $1/count.txt", "{words}", "{out}"]
outputs = ["count.txt"]

[stages.sum]
kind = "exec"
inputs = { counts = "count" }
command = ["sh", "-c", "echo sum >> ran.log; cat $0/*/count.txt | tr -d ' ' | paste -sd+ > $1/sum.txt; cat $0/0/count.txt > $1/a.txt", "{counts}", "{out}"]
outputs = ["sum.txt", "a.txt"]
export = "reports"
"#;

fn pipeline(name: &str, sleep: &str) -> String {
    PIPELINE.replace("NAME", name).replace("SLEEP", sleep)
}

fn letters() -> Project {
    let project = Project::new(&pipeline("letters", ""));
    project.write("words.txt", "Abracadabra\n");
    project
}

/// A finished project.
fn finished() -> Project {
    let project = letters();
    project.emopipe(&["run"]).ok();
    log(&project);
    project
}

fn log(project: &Project) -> Vec<String> {
    let mut lines: Vec<String> =
        fs::read_to_string(project.path("ran.log")).unwrap_or_default().lines().map(str::to_owned).collect();
    lines.sort();
    fs::write(project.path("ran.log"), "").unwrap();
    lines
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Replaces a file, also one that is read-only, by one with a flipped bit.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
}

fn spawn(project: &Project, file: &str) -> Child {
    project.command(&["run", file]).stderr(Stdio::null()).spawn().unwrap()
}

fn wait_for(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited too long");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_flipped_byte_in_any_blob_is_found_and_healed() {
    let project = finished();
    let expected = project.read("reports/sum.txt");
    let sound = project.emopipe(&["verify"]).ok().stdout();
    assert!(sound.contains("5 results read"), "{sound}");
    for blob in files_below(&project.path("cache/blobs")) {
        flip(&blob, 0);
        let found = project.emopipe(&["verify"]).fails(1);
        assert!(found.stdout().contains("other bytes than its name says"), "{}", found.stdout());
        assert!(found.stdout().contains("hits letters::"), "{}", found.stdout());
        assert!(found.stderr().contains("--repair"), "{}", found.stderr());
        let healed = project.emopipe(&["run", "--verify"]).ok();
        assert!(healed.stderr().contains("computed again"), "{}", healed.stderr());
        assert!(!log(&project).is_empty());
        assert_eq!(project.read("reports/sum.txt"), expected);
        project.emopipe(&["verify"]).ok();
    }
    flip(&files_below(&project.path("cache/blobs"))[0], 0);
    let repaired = project.emopipe(&["verify", "--repair"]).ok().stdout();
    assert!(repaired.contains("dropped 1 blobs") && repaired.contains("to be computed again"), "{repaired}");
    project.emopipe(&["verify"]).ok();
}

/// Without being asked to verify, a run compares what it reads, and makes again what has rotted or vanished.
#[test]
fn a_run_never_computes_from_rotten_bytes() {
    let project = finished();
    let expected = project.read("reports/sum.txt");
    let count = format!("{}\n", expected.split('+').next().unwrap());
    let words =
        files_below(&project.path("cache/blobs")).into_iter().find(|b| fs::read(b).unwrap() == b"abracadabra\n");
    flip(&words.unwrap(), 3);
    project.emopipe(&["clean", "count[letter=a]"]).ok();
    let ran = project.emopipe(&["run"]).ok();
    assert!(ran.stderr().contains("have rotted in the store"), "{}", ran.stderr());
    assert_eq!(log(&project), ["count-a", "words"]);
    assert_eq!(project.read("reports/sum.txt"), expected);

    // A rotten report isn't copied into the project, either. `a.txt` and the first count are one blob.
    let blob = files_below(&project.path("cache/blobs")).into_iter().find(|b| fs::read_to_string(b).unwrap() == count);
    flip(&blob.unwrap(), 0);
    fs::remove_file(project.path("reports/a.txt")).unwrap();
    project.emopipe(&["run"]).ok();
    assert_eq!(project.read("reports/a.txt"), count);
    assert_eq!(log(&project), ["count-a"], "with the count, the bytes of the report are back");

    // What vanishes is a miss.
    let words =
        files_below(&project.path("cache/blobs")).into_iter().find(|b| fs::read(b).unwrap() == b"abracadabra\n");
    fs::remove_file(words.unwrap()).unwrap();
    project.emopipe(&["run"]).ok();
    assert_eq!(log(&project), ["words"]);
    project.emopipe(&["verify"]).ok();
}

#[test]
fn a_flipped_byte_in_any_index_line_is_found_and_healed() {
    let project = finished();
    let expected = project.read("reports/sum.txt");
    let index = project.path("cache/index.jsonl");
    let lines = fs::read_to_string(&index).unwrap().lines().count();
    for line in 0..lines {
        let text = fs::read_to_string(&index).unwrap();
        let start: usize = text.lines().take(line).map(|l| l.len() + 1).sum();
        flip(&index, start + 30 + line);
        fs::set_permissions(&index, fs::Permissions::from_mode(0o644)).unwrap();
        let found = project.emopipe(&["verify"]).fails(1).stdout();
        assert!(found.contains(&format!("index line {}", line + 1)), "{found}");
        project.emopipe(&["run"]).ok();
        assert_eq!(log(&project).len(), 1);
        assert_eq!(project.read("reports/sum.txt"), expected);
        project.emopipe(&["verify", "--repair"]).ok();
        project.emopipe(&["verify"]).ok();
    }
    let record = files_below(&project.path("cache/actions")).remove(0);
    flip(&record, 3);
    assert!(project.emopipe(&["verify"]).fails(1).stdout().contains("the result is sound"));
    project.emopipe(&["verify", "--repair"]).ok();
    project.emopipe(&["run"]).ok();
    assert!(log(&project).is_empty(), "a lost description costs no work");
}

#[test]
fn several_runs_of_different_pipelines_compute_each_action_once() {
    let project = letters();
    for name in ["one", "two"] {
        project.write(&format!("{name}.toml"), &pipeline(name, "sleep 0.3;"));
    }
    let mut runs: Vec<Child> = ["one.toml", "two.toml", "one.toml", "two.toml"].map(|f| spawn(&project, f)).into();
    // The first one dies in the middle; somebody else takes its lock over.
    wait_for(|| project.path("ran.log").exists());
    let mut first = runs.remove(0);
    first.kill().unwrap();
    first.wait().unwrap();
    for run in &mut runs {
        assert_eq!(run.wait().unwrap().code(), Some(0));
    }
    let mut ran = log(&project);
    assert!(ran.len() <= 6, "{ran:?}");
    ran.dedup();
    // Only what the dead one had begun was begun twice.
    assert_eq!(ran, ["count-a", "count-b", "count-c", "sum", "words"]);
    journals::assert_nothing_finished_ran_again(&project);
    project.emopipe(&["verify"]).ok();
}

#[test]
fn without_locks_work_is_done_twice_at_worst_and_nothing_is_damaged() {
    let project = letters();
    for name in ["one", "two"] {
        project.write(&format!("{name}.toml"), &pipeline(name, "sleep 0.1;"));
    }
    let run = |file: &str| {
        let mut command = project.command(&["run", file]);
        command.env("EMOPIPE_LOCKS", "off").stderr(Stdio::null()).spawn().unwrap()
    };
    let mut runs: Vec<Child> = (0..3).flat_map(|_| ["one.toml", "two.toml"]).map(run).collect();
    for run in &mut runs {
        assert_eq!(run.wait().unwrap().code(), Some(0));
    }
    assert_eq!(project.read("reports/sum.txt"), "5+2+1\n");
    let times = log(&project).len();
    println!("5 actions were computed {times} times by 6 runs");
    assert!((5..=30).contains(&times));
    project.emopipe(&["verify"]).ok();
    assert!(project.command(&["run", "two.toml"]).status().unwrap().success());
    assert!(log(&project).is_empty());
    let gc = project.command(&["gc"]).env("EMOPIPE_LOCKS", "off").output().unwrap();
    assert!(String::from_utf8_lossy(&gc.stderr).contains("without locks"), "nobody could tell whether a run is live");
}

#[test]
fn a_collection_takes_nothing_from_a_live_run() {
    let project = finished();
    project.write(
        "pipeline.toml",
        &pipeline("letters", "test -e go || sleep 60;").replace("words.txt >", "words.txt | rev >"),
    );
    let mut run = spawn(&project, "pipeline.toml");
    wait_for(|| project.read("ran.log").contains("words"));
    let refused = project.command(&["gc", "--older-than", "0m"]).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by a run"));
    let listed = project.command(&["gc", "--older-than", "0m", "--dry-run"]).output().unwrap();
    assert!(listed.status.success(), "looking is always allowed");
    run.kill().unwrap();
    run.wait().unwrap();
    project.emopipe(&["verify"]).ok();
}

#[test]
fn collections_by_age_and_size_list_what_would_go() {
    let project = finished();
    let kept = project.emopipe(&["gc", "--older-than", "1d"]).ok().stdout();
    assert!(kept.contains("removed 0 results"), "{kept}");
    let listed = project.command(&["gc", "--max-size", "14", "--dry-run"]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("letters::sum  last used 0 d ago") && listed.contains("would go"), "{listed}");
    assert!(!listed.contains("letters::words"), "what was made last goes first: {listed}");
    project.emopipe(&["run"]).ok();
    assert!(log(&project).is_empty(), "a dry run removes nothing");
    let gone = project.command(&["gc", "--max-size", "14"]).output().unwrap();
    assert!(gone.status.success());
    project.emopipe(&["run"]).ok();
    let again = log(&project);
    assert!(again.contains(&"sum".to_owned()) && !again.contains(&"words".to_owned()), "{again:?}");
    assert!(!project.command(&["gc", "--older-than", "soon"]).output().unwrap().status.success());
    let du = project.command(&["du"]).output().unwrap();
    let du = String::from_utf8_lossy(&du.stdout).into_owned();
    for part in ["3 results  letters::count", "1 results  letters::sum", "blobs that no result needs", "journals"] {
        assert!(du.contains(part), "no `{part}` in:\n{du}");
    }
}

#[test]
fn a_locked_run_changes_nothing() {
    let project = finished();
    let unlocked = project.emopipe(&["run", "--locked"]).fails(1).stderr();
    assert!(unlocked.contains("emopipe lock"), "{unlocked}");
    project.emopipe(&["lock"]).ok();
    let lock = project.read("pipeline.lock");
    for part in ["[profile.default.sources.words]", "[profile.default.reports.sum]", "\"sum.txt\" = "] {
        assert!(lock.contains(part), "no `{part}` in:\n{lock}");
    }
    assert!(project.emopipe(&["lock"]).ok().stdout().contains("up to date"));
    project.emopipe(&["run", "--locked"]).ok();
    fs::remove_dir_all(project.path("cache")).unwrap();
    project.emopipe(&["run", "--locked"]).ok();
    log(&project);

    // A change that gives the same bytes is none.
    project.write("words.txt", "ABRACADABRA\n");
    project.emopipe(&["run", "--locked"]).ok();
    project.write("words.txt", "abc\n");
    let report = project.read("reports/sum.txt");
    let refused = project.emopipe(&["run", "--locked"]).fails(1).stderr();
    assert!(refused.contains("words gives") && refused.contains("the lock file says"), "{refused}");
    assert_eq!(project.read("reports/sum.txt"), report, "nothing was placed in the project");
    project.emopipe(&["run"]).ok();
    fs::write(project.path("reports/sum.txt"), &report).unwrap();
    let known = project.emopipe(&["run", "--locked"]).fails(1).stderr();
    assert!(known.contains("pipeline.lock doesn't fit") && known.contains("sum: the lock file says"), "{known}");
    assert_eq!(project.read("reports/sum.txt"), report);
    project.write("pipeline.toml", &pipeline("letters", "").replace("[stages.sum]", "[stages.total]"));
    let renamed = project.emopipe(&["run", "--locked"]).fails(1).stderr();
    assert!(
        renamed.contains("total isn't in the lock file") && renamed.contains("sum is in the lock file"),
        "{renamed}"
    );
    assert_eq!(project.read("pipeline.lock"), lock, "only `lock` writes it");
}

const LUCK: &str = r#"
[pipeline]
name = "luck"
[stages.draw]
kind = "exec"
command = ["sh", "-c", "date +%N > $0/draw.txt; echo same > $0/also.txt", "{out}"]
outputs = ["draw.txt", "also.txt"]
[stages.near]
kind = "exec"
command = ["sh", "-c", "echo \"loss 0.5000$(date +%N)\" > $0/near.txt", "{out}"]
outputs = ["near.txt"]
tolerance = 1e-3
[stages.sure]
kind = "exec"
command = ["sh", "-c", "echo 1 > $0/sure.txt", "{out}"]
outputs = ["sure.txt"]
[stages.show]
kind = "exec"
inputs = { draw = "draw" }
command = ["sh", "-c", "cat $0/draw.txt > $1/shown.txt", "{draw}", "{out}"]
outputs = ["shown.txt"]
export = "reports"
"#;

#[test]
fn what_is_not_deterministic_is_shown_and_never_chosen_silently() {
    let project = Project::new(LUCK);
    project.emopipe(&["run"]).ok();
    let shown = project.read("reports/shown.txt");
    let sound = project.emopipe(&["verify", "near", "sure", "show", "--rerun"]).ok().stdout();
    assert!(sound.contains("3 of 3 actions gave the same bytes again"), "{sound}");
    let sampled = project.emopipe(&["verify", "near", "sure", "show", "--rerun", "--sample", "2"]).ok().stdout();
    assert!(sampled.contains("2 of 2 actions"), "{sampled}");
    let found = project.emopipe(&["verify", "--rerun"]).fails(1).stdout();
    assert!(found.contains("not deterministic  draw: `draw.txt` differs"), "{found}");
    assert!(found.contains("3 of 4 actions gave the same bytes again"), "{found}");

    let run = project.emopipe(&["run"]).ok().stderr();
    assert!(run.contains("not deterministic") && run.contains("nothing to do"), "{run}");
    assert_eq!(project.read("reports/shown.txt"), shown, "the first one stays in use");
    let explained = project.emopipe(&["explain", "draw"]).ok().stdout();
    assert!(explained.contains("not deterministic: this key has given"), "{explained}");
    let forced = project.emopipe(&["run", "--force", "draw"]).ok().stderr();
    assert!(forced.contains("both are kept, and the earlier one stays in use"), "{forced}");
    assert_eq!(project.read("reports/shown.txt"), shown);
    project.command(&["gc"]).output().unwrap();
    assert!(project.emopipe(&["explain", "draw"]).ok().stdout().matches(", then ").count() == 2, "all three are kept");
}

#[test]
fn an_accepted_change_runs_nothing() {
    let project = finished();
    project.write("pipeline.toml", &pipeline("letters", ":;"));
    let early = project.emopipe(&["accept", "count", "--note", "a no-op"]).fails(1).stderr();
    assert!(early.contains("before its inputs are known"), "{early}");
    let accepted = project.emopipe(&["accept", "words", "--note", "a no-op"]).ok().stdout();
    assert!(accepted.contains("parameter `command` changed") && accepted.contains("1 accepted"), "{accepted}");
    project.emopipe(&["accept", "count", "--note", "a no-op"]).ok();
    project.emopipe(&["run"]).ok();
    assert!(log(&project).is_empty());
    let explained = project.emopipe(&["explain", "words"]).ok().stdout();
    assert!(explained.contains("accepted, not computed") && explained.contains("a no-op"), "{explained}");
    project.emopipe(&["verify"]).ok();
    assert!(project.emopipe(&["accept", "sum", "--note", "x"]).ok().stdout().contains("0 accepted"));
}

#[test]
fn runs_are_listed_and_compared() {
    let project = finished();
    project.write("pipeline.toml", &pipeline("letters", "").replace("grep -o ${letter}", "grep -io ${letter}"));
    project.write("words.txt", "Abba\n");
    project.emopipe(&["run"]).ok();
    let listed = project.emopipe(&["status", "--all"]).ok().stdout();
    assert_eq!(listed.matches("5 ran, 0 reused, 0 failed").count(), 3, "two runs, and the last one again: {listed}");
    let diff = project.command(&["diff", "last~1", "last"]).output().unwrap();
    let diff = String::from_utf8_lossy(&diff.stdout).into_owned();
    for part in ["count[letter=a]", "command", "files.words.txt", "input `words` changed"] {
        assert!(diff.contains(part), "no `{part}` in:\n{diff}");
    }
    let unknown = project.command(&["diff", "last", "1999"]).output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("status --all"));
}

#[test]
fn digests_lead_back_to_where_things_come_from() {
    let project = finished();
    let artifacts = journals::artifacts(&project);
    let explained = project.emopipe(&["explain", &artifacts["sum"][..10]]).ok().stdout();
    for part in
        ["sum  artifact", "counts: count[letter=b]  artifact", "words: words  artifact", "(as above)", "words.txt"]
    {
        assert!(explained.contains(part), "no `{part}` in:\n{explained}");
    }
    let sibling = project.emopipe(&["explain", "count[letter=c]"]).ok().stdout();
    assert!(sibling.contains("nearest earlier action: letters::count[letter="), "{sibling}");
    project.emopipe(&["explain", "0123456789abcdef"]).fails(1);
    assert!(project.emopipe(&["explain", "a:b:c"]).fails(1).stderr().contains("TABLE:METHOD:TASK:METRIC"));
}

#[test]
fn offline_replays_from_store_and_mirror_alone() {
    let text = "some text\n";
    let digest = blake3::hash(text.as_bytes());
    // Nobody listens there: whatever touched the network would fail.
    let project = Project::new(&format!(
        "[pipeline]\nname = \"o\"\n[model.m]\nfamily = \"llama\"\n\
         source.\"d.txt\" = {{ url = \"http://127.0.0.1:9/d.txt\", blake3 = \"{digest}\" }}\n\
         [stages.raw]\nkind = \"download\"\nfrom = \"model.m\"\nexport = \"out\"\n"
    ));
    let refused = project.emopipe(&["run", "--offline"]).fails(1).stderr();
    assert!(refused.contains("EMOPIPE_OFFLINE forbids the network"), "{refused}");
    let mirror = project.path("mirror");
    project.write("mirror/127.0.0.1:9/d.txt", text);
    project.emopipe(&["run", "--offline", "--mirror", mirror.to_str().unwrap()]).ok();
    assert_eq!(project.read("out/d.txt"), text);
    fs::remove_dir_all(&mirror).unwrap();
    fs::remove_file(project.path("out/d.txt")).unwrap();
    project.emopipe(&["run", "--offline"]).ok();
    assert_eq!(project.read("out/d.txt"), text, "from the store alone");
}

#[test]
fn a_plan_says_what_it_will_take() {
    let project = Project::new(&pipeline("letters", "sleep 0.3;"));
    project.write("words.txt", "Abracadabra\n");
    let unknown = project.emopipe(&["plan"]).ok().stdout();
    assert!(unknown.contains("time unknown") && unknown.contains("not counting 5 of unknown time"), "{unknown}");
    project.emopipe(&["run"]).ok();
    project.emopipe(&["clean", "count"]).ok();
    project.write("pipeline.toml", &project.read("pipeline.toml").replace("\"c\"]", "\"c\", \"d\"]"));
    let known = project.emopipe(&["plan"]).ok().stdout();
    assert!(!known.contains("unknown") && known.contains("going by earlier runs; "), "{known}");
    assert!(known.contains(" to write, ") && known.contains("MiB of memory at most"), "{known}");
    let took = |line: &str| line.split_once('(').unwrap().1.split_once(" s,").unwrap().0.parse::<f64>().unwrap();
    for line in known.lines().filter(|l| l.starts_with("run     count")) {
        assert!(took(line) >= 0.3, "d has the median of its stage: {line}");
    }
}

#[test]
fn a_store_that_cannot_be_written_is_named_with_a_remedy() {
    let project = letters();
    let disk = project.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = |arguments: &[&str]| {
        std::process::Command::new("mount").args(arguments).arg(&disk).status().is_ok_and(|s| s.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"]) {
        eprintln!("SKIPPED a_store_that_cannot_be_written: no right to mount a filesystem here");
        return;
    }
    let store = disk.join("cache");
    let with = ["run", "--store", store.to_str().unwrap()];
    let first = project.emopipe(&with);
    let remounted = mount(&["-o", "remount,ro"]);
    let refused = project.emopipe(&with);
    let writable = mount(&["-o", "remount,rw"]);
    let again = project.emopipe(&with);
    assert!(std::process::Command::new("umount").arg(&disk).status().unwrap().success());
    assert!(remounted && writable);
    first.ok();
    let text = refused.fails(1).stderr();
    assert!(text.contains("Read-only file system") && text.contains("make the folder writable"), "{text}");
    assert!(again.ok().stderr().contains("nothing to do: all 5 results"));
}

/// A file that is edited while its command waits or runs must not get its result filed under what it was before.
#[test]
fn a_file_that_changes_during_a_run_gives_no_result() {
    let project = Project::new(&pipeline("letters", "test -e go || echo more >> words.txt;"));
    project.write("words.txt", "Abracadabra\n");
    let failed = project.emopipe(&["run"]).fails(1).stderr();
    assert!(failed.contains("`words.txt` changed after this run had read it"), "{failed}");
    project.write("go", "");
    project.emopipe(&["run"]).ok();
    assert_eq!(log(&project).iter().filter(|l| *l == "words").count(), 2);
    assert_eq!(project.read("reports/sum.txt"), "5+2+1\n");
    project.emopipe(&["verify", "--rerun"]).ok();
}

/// Root may do anything, so that the program runs as somebody else.
#[test]
fn what_may_not_be_written_is_named_and_loses_nothing() {
    let project = finished();
    let program = project.path("emopipe");
    fs::copy(env!("CARGO_BIN_EXE_emopipe"), &program).unwrap();
    let stranger = |arguments: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).args(arguments);
        command.current_dir(project.root()).env("HOME", "/nonexistent").env_remove("XDG_CONFIG_HOME").output()
    };
    fs::set_permissions(project.root(), fs::Permissions::from_mode(0o755)).unwrap();
    if !stranger(&["--version"]).is_ok_and(|ran| ran.status.success()) {
        eprintln!("SKIPPED what_may_not_be_written: no `setpriv`, or no right to be somebody else");
        return;
    }
    let refused = stranger(&["run", "pipeline.toml"]).unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("Permission denied") && text.contains("make the folder writable"), "{text}");

    // Only the reports belong to somebody else: all results are kept, and the rest of the run goes on.
    for path in
        [vec![project.path("cache")], folders_below(&project.path("cache")), files_below(&project.path("cache"))]
    {
        path.iter().for_each(|p| std::os::unix::fs::chown(p, Some(65534), Some(65534)).unwrap());
    }
    fs::remove_file(project.path("reports/sum.txt")).unwrap();
    let refused = stranger(&["run", "pipeline.toml", "--keep-going"]).unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("failed: sum") && text.contains("Permission denied"), "{text}");
    assert!(!project.path("reports/sum.txt").exists());
    project.emopipe(&["run"]).ok();
    assert_eq!(project.read("reports/sum.txt"), "5+2+1\n");
    assert!(log(&project).is_empty());
    project.emopipe(&["verify"]).ok();
}

fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    below.flat_map(|p| [vec![p.clone()], folders_below(&p)].concat()).collect()
}

#[test]
fn a_collection_in_the_wrong_place_creates_nothing() {
    let project = letters();
    let refused = project.command(&["gc"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no store in cache"));
    assert!(!project.path("cache").exists());
}
