//! What the program says, where it can't be said, and what it must not do to a terminal.

mod common;

use std::process::{Output, Stdio};

use common::Project;

const PIPELINE: &str = r#"
[stages.a]
kind = "exec"
command = ["sh", "-c", "echo 1 > $0/n", "{out}"]
outputs = ["n"]
export = "made"
"#;

fn full() -> Stdio {
    Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap())
}

/// A pipe whose reader has gone away.
fn gone() -> Stdio {
    Stdio::from(std::io::pipe().unwrap().1)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_run_goes_on_where_nobody_hears_of_it() {
    for (out, err) in [(full as fn() -> Stdio, full as fn() -> Stdio), (gone, gone)] {
        let project = Project::new(PIPELINE);
        let mut command = project.command(&["run", "pipeline.toml"]);
        assert_eq!(command.stdout(out()).stderr(err()).status().unwrap().code(), Some(0));
        assert_eq!(project.read("made/n"), "1\n");
        let mistaken = project.command(&["run", "nothere.toml"]).stderr(err()).status().unwrap();
        assert_eq!(mistaken.code(), Some(2), "the exit code is what it would be");
    }
}

#[test]
fn a_run_outlives_its_terminal() {
    let project = Project::new(
        &PIPELINE.replace("echo 1", "kill -HUP $(ps -o ppid= -p $(ps -o ppid= -p $PPID)); sleep 0.2; echo 1"),
    );
    project.emopipe(&["run"]).ok();
    assert_eq!(project.read("made/n"), "1\n");
}

#[test]
fn what_cannot_be_printed_ends_with_code_1() {
    let project = Project::new(PIPELINE);
    for _ in 0..2 {
        project.emopipe(&["run"]).ok();
    }
    let commands: [&[&str]; 16] = [
        &["plan", "pipeline.toml", "--all"],
        &["status", "pipeline.toml"],
        &["explain", "pipeline.toml", "a"],
        &["graph", "pipeline.toml"],
        &["diff", "last~1", "last"],
        &["pin", "pipeline.toml"],
        &["gc", "--dry-run"],
        &["gc"],
        &["du"],
        &["verify"],
        &["lock", "pipeline.toml"],
        &["clean", "pipeline.toml"],
        &["schema"],
        &["completions", "bash"],
        &["--help"],
        &["run", "--help"],
    ];
    for arguments in commands {
        let run = |out: Stdio| -> Output { project.command(arguments).stdout(out).output().unwrap() };
        let (to_full, to_nobody) = (run(full()), run(gone()));
        assert_eq!(to_full.status.code(), Some(1), "{arguments:?}: {}", text(&to_full.stderr));
        assert!(text(&to_full.stderr).contains("can't write to standard output: No space left"), "{arguments:?}");
        // A reader that has seen enough is told nothing.
        assert_eq!((to_nobody.status.code(), text(&to_nobody.stderr)), (Some(1), String::new()), "{arguments:?}");
    }
    assert!(!project.emopipe(&["plan"]).ok().stdout().contains("0 to run"), "`clean` was done all the same");
}

/// Whether a terminal would only show this.
#[track_caller]
fn is_harmless(output: &Output) -> String {
    let said = text(&output.stdout) + &text(&output.stderr);
    let obeyed: Vec<char> = said.chars().filter(|c| c.is_control() && *c != '\n' && *c != '\t').collect();
    assert!(obeyed.is_empty() && !said.contains('\u{202e}'), "{obeyed:?} in {said:?}");
    said
}

#[test]
fn nothing_from_outside_drives_the_terminal() {
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[31m\r\u{9b}2J\u{202e}";
    let escaped = evil.chars().map(|c| if c.is_control() { format!("\\u{:04x}", c as u32) } else { c.to_string() });
    let escaped: String = escaped.collect();
    let project = Project::new(PIPELINE);
    let try_it = |name: &str, pipeline: &str, command: &str, shows: &str| {
        project.write(name, pipeline);
        let said = is_harmless(&project.command(&[command, name]).output().unwrap());
        assert!(said.contains(shows), "{command} {name}: {said}");
    };
    // Names, keys and values of the pipeline, well-formed and not.
    try_it("name.toml", &format!("[pipeline]\nname = \"{escaped}\"\n{PIPELINE}"), "plan", r"\u{1b}]0;owned\u{7}");
    try_it("key.toml", &format!("{PIPELINE}\"{escaped}\" = 1\n"), "plan", r"unknown key `\u{1b}]0;owned");
    try_it("raw.toml", &format!("{PIPELINE}x = {evil}\n"), "plan", r"\u{1b}]0;owned");
    try_it("kind.toml", &PIPELINE.replace("\"exec\"", &format!("\"{escaped}\"")), "plan", r"\u{1b}[31m");
    // What a command of the pipeline says, and why it failed.
    let loud = PIPELINE.replace("echo 1 > $0/n", r"printf '\\033]0;owned\\007' >&2; exit 3");
    try_it("loud.toml", &loud, "run", "FAILED a");
    // Data.
    let card = include_str!("fixtures/terminal/card.toml");
    project.write("x.csv", &format!("rating,text\n{}9,a\n", evil.replace('\r', "")));
    project.write("card.toml", card);
    project.command(&["pin", "card.toml"]).output().unwrap();
    try_it("card.toml", &std::fs::read_to_string(project.path("card.toml")).unwrap(), "run", r"rating `\u{1b}]0;owned");
    // The command line itself.
    let said = is_harmless(&project.command(&["run", "pipeline.toml", &format!("--{evil}")]).output().unwrap());
    assert!(said.contains(r"\u{9b}2J"), "{said}");
    is_harmless(&project.command(&["plan", &format!("{evil}.toml")]).output().unwrap());
    is_harmless(&project.command(&["explain", "pipeline.toml", evil]).output().unwrap());
}
