//! Commands of `exec` stages from outside: what they may touch, what they get, what is left of them, and what they hold.

mod common;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{Project, Ran};

/// One stage `a` that runs `script` in a shell with `{out}` as `$0`, and what else is said of it.
fn stage(script: &str, rest: &str) -> Project {
    Project::new(&format!(
        "[stages.a]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", '''{script}''', \"{{out}}\"]\n{rest}\n"
    ))
}

#[track_caller]
fn refused(script: &str, outputs: &str, says: &[&str]) -> Project {
    let project = stage(script, &format!("outputs = {outputs}"));
    project.write("results/precious.txt", "thesis");
    project.write("results/deep/more.txt", "years");
    let text = project.emopipe(&["run"]).fails(1).stderr();
    for part in says {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert_eq!(project.read("results/precious.txt"), "thesis");
    assert_eq!(project.read("results/deep/more.txt"), "years");
    project
}

#[test]
fn outputs_never_lead_out_of_their_folder() {
    refused("echo 1 > results/x.txt; ln -s $PWD/results $0/results", "['results/x.txt']", &["`results` is a symbolic"]);
    refused(
        "mkdir -p $0/a/b; echo 1 > results/x; ln -s $PWD/results $0/a/b/c",
        "['a/b/c/x']",
        &["`a/b/c` is a symbolic"],
    );
    refused("ln -s $PWD/results/precious.txt $0/x", "['x']", &["`x` is a symbolic link", "write a copy"]);
    refused("echo 1 > $0/y; ln -s y $0/x", "['x']", &["`x` is a symbolic link"]);
    refused("echo 1 > results/x; rmdir $0; ln -s $PWD/results $0", "['x']", &["`{out}` is a symbolic link"]);
    refused("mkfifo $0/x", "['x']", &["`x` is a named pipe"]);
    refused("mkdir $0/x", "['x']", &["`x` is a folder"]);
    refused("echo 1 > $0/x", "['x/y']", &["`x` is a file, where the output `x/y` needs a folder"]);
    refused("rm -rf $0", "['x']", &["didn't write `x`"]);
}

#[test]
fn what_is_not_declared_goes_without_being_followed() {
    let project = stage(
        "ln -s $PWD/results $0/link; mkdir -p $0/t/u; ln -s $PWD/results $0/t/u/v; echo 1 > $0/t/u/w; chmod 555 $0/t/u; mkfifo $0/p; echo 1 > $0/x",
        "outputs = ['x']",
    );
    project.write("results/precious.txt", "thesis");
    project.emopipe(&["run"]).ok();
    assert_eq!(project.read("results/precious.txt"), "thesis");
    assert_eq!(fs::read_dir(project.path("cache/work")).unwrap().count(), 0);
}

#[test]
fn no_output_shares_an_inode_with_a_file_of_the_user() {
    let project = stage("ln mine $0/x; echo 1 > $0/y; ln $0/y $0/z", "outputs = ['x', 'y', 'z']\nexport = 'out'");
    project.write("mine", "my own");
    let before = fs::metadata(project.path("mine")).unwrap();
    project.emopipe(&["run"]).ok();
    let after = fs::metadata(project.path("mine")).unwrap();
    assert_eq!((after.nlink(), after.mode(), after.ino()), (1, before.mode(), before.ino()));
    project.write("mine", "edited");
    project.emopipe(&["verify"]).ok();
    assert_eq!(project.read("out/x"), "my own");
}

const READERS: &str = r#"
[stages.a]
kind = "exec"
command = ["sh", "-c", "printf '3\\n1\\n2\\n' > $0/n.txt; echo other > $0/o.txt", "{out}"]
outputs = ["n.txt", "o.txt"]
[stages.b]
kind = "exec"
inputs = { n = "a" }
command = ["sh", "-c", '''SCRIPT''', "{n}", "{out}"]
outputs = ["b"]
[stages.c]
kind = "exec"
inputs = { n = "a", m = "b" }
command = ["sh", "-c", "head -1 $0/n.txt > $1/first.txt", "{n}", "{out}"]
outputs = ["first.txt"]
export = "out"
"#;

#[test]
fn inputs_stay_as_they_were() {
    for change in [
        "chmod u+w $0/n.txt; sort -o $0/n.txt $0/n.txt",
        "chmod -R u+w $0; echo 4 >> $0/n.txt",
        "rm -f $0/n.txt; echo 1 > $0/n.txt",
        "rm -f $0/n.txt; ln -s o.txt $0/n.txt",
        "chmod u+w $0/n.txt; printf 9 | dd of=$0/n.txt conv=notrunc; touch -d @0 $0/n.txt",
    ] {
        let project = Project::new(&READERS.replace("SCRIPT", &format!("{change}; echo b > $1/b")));
        let text = project.emopipe(&["run"]).fails(1).stderr();
        assert!(text.contains("changed its input `n` (`n.txt`)"), "{change}: {text}");
        project.emopipe(&["verify"]).ok();
    }
    for harmless in
        ["mv $0/n.txt $1/b", "chmod u+w $0/n.txt; touch $0/n.txt; cp $0/n.txt $1/b", "touch $0/new; echo 1 > $1/b"]
    {
        let project = Project::new(&READERS.replace("SCRIPT", harmless));
        project.emopipe(&["run"]).ok();
        assert_eq!(project.read("out/first.txt"), "3\n", "{harmless}");
        project.emopipe(&["verify"]).ok();
    }
}

#[test]
fn names_that_stand_for_something_else_are_refused() {
    let project = Project::new(
        r#"
[stages.a]
kind = "exec"
command = ["true"]
outputs = ["", "../x", "/x", "x/"]
env = { "A=B" = "x", C = "1" }
pass_env = ["C", "CUDA_VISIBLE_DEVICES"]
[stages.b]
kind = "exec"
inputs = { out = "a", ".." = "a", "a/b" = "a", "{x}" = "a" }
command = ["true"]
outputs = ["x"]
"#,
    );
    let text = project.emopipe(&["run"]).fails(2).stderr();
    for part in [
        "can't be called `out`",
        "can't be called `..`",
        "can't be called `a/b`",
        "can't be called `{x}`",
        "the output `` isn't a file below {out}",
        "the output `../x`",
        "the output `/x`",
        "the output `x/`",
        "`A=B` is no name of a variable",
        "`C` is named twice",
        "`CUDA_VISIBLE_DEVICES` is set by emopipe itself",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

/// Runs with these variables on top of the tests' own.
fn run_with(project: &Project, variables: &[(&str, &str)]) -> Ran {
    let mut command = project.command(&["run", "pipeline.toml"]);
    command.envs(variables.iter().copied());
    Ran(command.output().unwrap())
}

fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).unwrap().windows(text.len()).any(|w| w == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_command_gets_the_variables_that_are_named() {
    let project = stage(
        "env | cut -d= -f1 | sort > $0/names; tr '\\0' '\\n' < /proc/$PPID/environ > $0/supervisor",
        "outputs = ['names', 'supervisor']\nenv = { GIVEN = '1' }\npass_env = ['MODE', 'NOT_SET']\nsecret_env = ['TOKEN']\nexport = 'out'",
    );
    run_with(
        &project,
        &[
            ("MODE", "fast"),
            ("TOKEN", "a-token"),
            ("LC_ALL", "C"),
            ("TMPDIR", "/tmp"),
            ("SSL_CERT_FILE", "/nowhere"),
            ("HF_TOKEN", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("HTTPS_PROXY", "http://user:password@nowhere"),
            ("WHATEVER", "x"),
        ],
    )
    .ok();
    let names = project.read("out/names");
    let names: Vec<&str> = names.lines().collect();
    let named = ["GIVEN", "LC_ALL", "MODE", "PATH", "SSL_CERT_FILE", "TMPDIR", "TOKEN", "CUDA_VISIBLE_DEVICES"];
    for name in named {
        assert!(names.contains(&name), "no {name} among {names:?}");
    }
    // What a shell sets by itself, and what the tests' own environment has of the usual.
    let usual = ["HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_DIR"];
    let shell = ["PWD", "OLDPWD", "SHLVL", "_", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS"];
    for name in names {
        let known = named.contains(&name) || usual.contains(&name) || shell.contains(&name) || name.starts_with("LC_");
        assert!(known, "{name} reached the command");
    }
    assert_eq!(project.read("out/supervisor"), "", "nor does the supervisor's environment show more");
}

#[test]
fn passed_values_enter_the_key_by_their_digest_alone() {
    let project =
        stage("wc -c < words > $0/n; echo ran >> ran.log", "files = ['words']\noutputs = ['n']\npass_env = ['MODE']");
    project.write("words", "x");
    let runs = || fs::read_to_string(project.path("ran.log")).unwrap().lines().count();
    for (mode, expected) in [("mode-number-one", 1), ("mode-number-one", 1), ("mode-number-two", 2)] {
        // The second time by the memo.
        for _ in 0..2 {
            run_with(&project, &[("MODE", mode)]).ok();
            assert_eq!(runs(), expected, "{mode}");
        }
    }
    project.emopipe(&["run"]).ok();
    assert_eq!(runs(), 3, "not set is another value");
    assert_eq!(files_with(&project.path("cache"), "mode-number"), Vec::<String>::new());
}

#[test]
fn secrets_are_neither_stored_nor_shown() {
    let script = "echo \"the token is $TOKEN.\"; printf 'half %s' \"$TOKEN\" >&2; echo \"$LINES\" | head -2; test -e fine && echo 1 > $0/x";
    let project = stage(script, "outputs = ['x']\nsecret_env = ['TOKEN', 'LINES']");
    let variables = [("TOKEN", "canary-5f0c"), ("LINES", "first-line-canary\nsecond-line-canary")];
    let unset = project.emopipe(&["run"]).fails(2).stderr();
    assert!(unset.contains("`secret_env` names TOKEN, which isn't set"), "{unset}");
    let failed = run_with(&project, &variables).fails(1);
    project.write("fine", "");
    let ran = run_with(&project, &variables).ok();
    let log = fs::read_dir(project.path("cache/runs")).unwrap().map(|run| run.unwrap().path().join("a.log"));
    let logs: String = log.filter_map(|log| fs::read_to_string(log).ok()).collect();
    assert!(logs.contains("the token is [secret].\n") && logs.contains("half [secret]"), "{logs}");
    assert_eq!(files_with(project.root(), "canary"), Vec::<String>::new());
    assert!(!failed.stderr().contains("canary") && !ran.stderr().contains("canary"));
    // With another token, or none, the result is what it was.
    run_with(&project, &[("TOKEN", "another"), ("LINES", "")]).ok();
    assert!(project.emopipe(&["run"]).ok().stderr().contains("nothing to do"));
}

// ---- what is left of a command

/// Runs on until it is ended, with children that ignore signals, and one that left its session.
const STUBBORN: &str = "trap '' TERM INT HUP; setsid sh -c \"trap '' TERM HUP; echo > detached; sleep 600\" & \
                        sh -c \"trap '' TERM; sleep 600\" & echo > started; while true; do sleep 1; done";

fn stubborn() -> (Project, Child) {
    let project = stage(STUBBORN, "outputs = ['x']");
    let child = project.command(&["run", "pipeline.toml"]).stderr(Stdio::null()).spawn().unwrap();
    wait_for(|| project.path("started").exists() && project.path("detached").exists());
    (project, child)
}

/// Whether this process ignores SIGQUIT, and with it all that it starts.
fn ignores_quit() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() & 1 << (3 - 1) != 0
}

/// Processes that work in the project's folder: command lines by process.
fn alive(project: &Project) -> Vec<(u32, String)> {
    let root = project.root().canonicalize().unwrap();
    let of = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let here = fs::read_link(entry.path().join("cwd")).ok()? == root;
        let words = fs::read(entry.path().join("cmdline")).ok()?;
        here.then(|| (pid, String::from_utf8_lossy(&words).replace('\0', " ")))
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(of).collect()
}

fn pid_of(project: &Project, argument: &str) -> u32 {
    let found = alive(project);
    let wanted = format!("emopipe {argument} ");
    found.iter().find(|(_, words)| *words == wanted).unwrap_or_else(|| panic!("no {argument} in {found:?}")).0
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

fn wait_for(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited too long");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn one_stop_ends_a_command_that_does_not_want_to() {
    let (project, mut child) = stubborn();
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(alive(&project), []);
}

#[test]
fn two_stops_end_it_before_the_run_ends() {
    let (project, mut child) = stubborn();
    signal(child.id(), "INT");
    std::thread::sleep(Duration::from_millis(20));
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(alive(&project), []);
}

#[test]
fn a_worker_takes_its_command_with_it() {
    for name in ["KILL", "TERM", "ABRT"] {
        let (project, mut child) = stubborn();
        signal(pid_of(&project, "worker"), name);
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert_eq!(alive(&project), [], "{name}");
    }
}

#[test]
fn a_run_takes_its_commands_with_it() {
    // A terminal that closes (HUP) ends no run, so it ends no command either.
    for name in ["KILL", "QUIT"] {
        if name == "QUIT" && ignores_quit() {
            eprintln!("SKIPPED: SIGQUIT is ignored here, as in a job that a shell put into the background");
            continue;
        }
        let (project, mut child) = stubborn();
        signal(child.id(), name);
        child.wait().unwrap();
        wait_for(|| alive(&project).is_empty());
    }
}

#[test]
fn a_command_does_not_survive_whoever_watches_over_it() {
    for name in ["KILL", "TERM"] {
        let (project, mut child) = stubborn();
        signal(pid_of(&project, "supervise"), name);
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert_eq!(alive(&project), [], "{name}");
    }
}

#[test]
fn run_and_worker_killed_together_leave_nothing_and_the_next_run_has_the_place_alone() {
    let script = "test -e lock && echo twice >> twice; echo > lock; sleep 0.3; sleep 0.3; rm lock; echo 1 > $0/x";
    let project = stage(script, "outputs = ['x']");
    for _ in 0..3 {
        let mut child = project.command(&["run", "pipeline.toml"]).stderr(Stdio::null()).spawn().unwrap();
        wait_for(|| project.path("lock").exists());
        let worker = pid_of(&project, "worker");
        signal(child.id(), "KILL");
        signal(worker, "KILL");
        child.wait().unwrap();
        wait_for(|| alive(&project).is_empty());
        fs::remove_file(project.path("lock")).unwrap();
    }
    project.emopipe(&["run"]).ok();
    assert!(!project.path("twice").exists());
}

#[test]
fn outputs_are_read_when_everything_has_ended() {
    let late = "sleep 0.5; echo LATE! | dd of=/proc/self/fd/3 conv=notrunc";
    for started in [format!("({late})"), format!("setsid sh -c \"{late}\"")] {
        let script = format!("exec 3<>$0/n.txt; echo early >&3; {started} >/dev/null 2>&1 &");
        let project = stage(&script, "outputs = ['n.txt']\nexport = 'out'");
        let text = project.emopipe(&["run"]).ok().stderr();
        assert!(text.contains("left processes running"), "{text}");
        assert_eq!(alive(&project), []);
        assert_eq!(project.read("out/n.txt"), "early\n");
        project.emopipe(&["verify"]).ok();
    }
}

// ---- the program itself

#[test]
fn workers_run_the_program_that_was_started() {
    let project = stage("touch started; while ! test -e go; do sleep 0.05; done; echo 1 > $0/x", "outputs = ['x']");
    let more = "[stages.b]\nkind = \"exec\"\ninputs = { x = \"a\" }\ncommand = [\"sh\", \"-c\", \"cat $0 > $1/y\", \"{x}\", \"{out}\"]\noutputs = [\"y\"]\nexport = \"out\"\n";
    let text = format!("{}{more}", project.read("pipeline.toml"));
    project.write("pipeline.toml", &text);
    for replaced in [true, false] {
        let program = project.path("program");
        fs::copy(env!("CARGO_BIN_EXE_emopipe"), &program).unwrap();
        let mut command = Command::new(&program);
        command.args(["run", "pipeline.toml"]).current_dir(project.root()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        wait_for(|| project.path("started").exists());
        fs::remove_file(&program).unwrap();
        if replaced {
            fs::write(&program, "#!/bin/sh\necho another program; exit 7\n").unwrap();
            assert!(Command::new("chmod").arg("+x").arg(&program).status().unwrap().success());
        }
        project.write("go", "");
        Ran(child.wait_with_output().unwrap()).ok();
        assert_eq!(project.read("out/y"), "1\n");
        for name in ["cache", "out"] {
            fs::remove_dir_all(project.path(name)).unwrap();
        }
        for name in ["go", "started"] {
            fs::remove_file(project.path(name)).unwrap();
        }
        let _ = fs::remove_file(&program);
    }
}

// ---- memory

/// Holds about 200 MB in a shell that is no child of the first process.
const HOG: &str = "(x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo $${#x} > $0/x)";

fn measured(project: &Project, name: &str) -> f64 {
    let run = fs::read_dir(project.path("cache/runs")).unwrap().next().unwrap().unwrap().path();
    let journal = fs::read_to_string(run.join("journal.jsonl")).unwrap();
    let entries = journal.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let mut value =
        entries.filter(|e| e["event"] == "measured" && e["name"] == name).map(|e| e["value"].as_f64().unwrap());
    value.next_back().unwrap_or_else(|| panic!("no {name} in\n{journal}"))
}

#[test]
fn memory_is_measured_and_compared() {
    let project = stage(HOG, "outputs = ['x']\nresources = { memory = '50 MiB' }");
    let text = project.emopipe(&["run"]).ok().stderr();
    let peak = measured(&project, "peak_memory_bytes");
    assert!((2e8..2e9).contains(&peak), "{peak}");
    assert_eq!(measured(&project, "planned_memory_bytes"), f64::from(50 << 20));
    assert!(text.contains("of memory at its worst moment, and 50.0 MiB were set aside"), "{text}");
    assert!(text.contains("of memory (50.0 MiB planned)"), "{text}");
    let small = project.emopipe(&["run", "--force", "a", "--memory", "40 MiB"]).fails(1).stderr();
    assert!(small.contains("needs 50.0 MiB of memory, and 40.0 MiB may be used"), "{small}");

    let modest = stage("echo 1 > $0/x", "outputs = ['x']");
    let text = modest.emopipe(&["run"]).ok().stderr();
    assert!(!text.contains("set aside") && measured(&modest, "peak_memory_bytes") < f64::from(64 << 20), "{text}");
}

#[test]
fn who_was_killed_otherwise_did_not_run_out_of_memory() {
    for script in ["kill -9 $$", "sh -c 'kill -9 $$'; exit 137", "exit 137"] {
        let project = stage(script, "outputs = ['x']");
        let text = project.emopipe(&["run"]).fails(1).stderr();
        assert!(text.contains("no record that memory ran out"), "{script}: {text}");
        assert!(!text.contains("because memory"), "{script}: {text}");
    }
}

/// A control group with a limit of bytes; None where this process may not make one.
fn limited_group(limit: u64) -> Option<std::path::PathBuf> {
    for (base, file) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
        let group = Path::new(base).join(format!("emopipe-test-{}", std::process::id()));
        if fs::create_dir(&group).is_err() {
            continue;
        }
        if group.join(file).exists() && fs::write(group.join(file), limit.to_string()).is_ok() {
            let _ = fs::write(group.join("memory.swap.max"), "0");
            return Some(group);
        }
        let _ = fs::remove_dir(&group);
    }
    None
}

#[test]
fn a_command_that_the_kernel_killed_for_want_of_memory_is_called_that() {
    let Some(group) = limited_group(150 << 20) else {
        eprintln!("SKIPPED: no right to make a control group here");
        return;
    };
    let project = stage(HOG, "outputs = ['x']\nresources = { memory = '50 MiB' }");
    let enter = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", enter]).arg(&group).arg(env!("CARGO_BIN_EXE_emopipe")).args(["run", "pipeline.toml"]);
    command.current_dir(project.root()).env("XDG_CONFIG_HOME", project.path(".config"));
    let text = Ran(command.output().unwrap()).fails(1).stderr();
    wait_for(|| fs::remove_dir(&group).is_ok());
    assert!(text.contains("was killed because memory ran out"), "{text}");
    assert!(text.contains("50.0 MiB were set aside") && text.contains("150.0 MiB"), "{text}");
}
