//! Which folders are stores, and who may use them: nothing is removed from any other folder, a group can share one, and who may
//! only read one can ask all questions.

mod common;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::Project;

const PIPELINE: &str = r#"
[pipeline]
name = "p"
[stages.one]
kind = "exec"
command = ["sh", "-c", "echo 1 > $0/x", "{out}"]
outputs = ["x"]
[stages.two]
kind = "exec"
inputs = { one = "one" }
command = ["sh", "-c", "cat $0 > $1/y; echo 2 >> $1/y", "{one}", "{out}"]
outputs = ["y"]
export = "out"
"#;

fn text(ran: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}

/// Every file and folder below, with the content of files.
fn all_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push((path.clone(), fs::read(&path).unwrap_or_default()));
        if path.is_dir() {
            found.extend(all_below(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn nothing_is_touched_in_a_folder_that_is_no_store() {
    let project = Project::new(PIPELINE);
    for file in ["tmp/thesis.txt", "tmp/photos/1.jpg", "work/old/main.c", "locks/k", "runs/marathon", "blobs/x"] {
        project.write(&format!("home/{file}"), "precious");
    }
    fs::create_dir(project.path("empty")).unwrap();
    let before = (all_below(&project.path("home")), all_below(&project.path("empty")));
    let commands: &[&[&str]] = &[
        &["gc"],
        &["gc", "--dry-run"],
        &["gc", "pipeline.toml"],
        &["gc", "--older-than", "0m"],
        &["du"],
        &["verify"],
        &["verify", "--repair"],
        &["verify", "pipeline.toml", "--repair"],
        &["clean", "pipeline.toml"],
        &["run", "pipeline.toml"],
        &["run", "pipeline.toml", "--verify"],
    ];
    for command in commands {
        for folder in ["home", "empty"] {
            // A run may make a store where nothing is.
            if folder == "empty" && command[0] == "run" {
                continue;
            }
            let ran = project.command(&[command, &["--store", folder][..]].concat()).output().unwrap();
            assert!(!ran.status.success() && text(&ran).contains("isn't a store"), "{command:?}: {}", text(&ran));
            assert!(text(&ran).contains("help"), "{command:?}");
        }
    }
    assert_eq!((all_below(&project.path("home")), all_below(&project.path("empty"))), before);
    // A folder that only has a note in it may become one.
    project.write("empty/README.md", "results of the group");
    assert!(project.command(&["run", "pipeline.toml", "--verify", "--store", "empty"]).status().unwrap().success());
    assert!(project.command(&["gc", "--store", "empty"]).status().unwrap().success());
    assert_eq!(project.read("empty/README.md"), "results of the group");
}

#[test]
fn a_store_from_before_stores_were_marked_is_known() {
    let project = Project::new(PIPELINE);
    project.emopipe(&["run"]).ok();
    fs::remove_file(project.path("cache/emopipe.store")).unwrap();
    fs::remove_file(project.path("cache/in-use.lock")).unwrap();
    assert!(project.command(&["du"]).status().unwrap().success());
    assert!(!project.path("cache/emopipe.store").exists(), "a question changes nothing");
    assert!(project.command(&["gc"]).status().unwrap().success());
    assert!(project.path("cache/emopipe.store").exists());
    assert!(project.emopipe(&["run"]).ok().stderr().contains("nothing to do"));
}

/// A folder that several users can reach, with the program in it; none without the right to be somebody else.
fn shared(name: &str) -> Option<Project> {
    let project = Project::new(PIPELINE);
    fs::copy(env!("CARGO_BIN_EXE_emopipe"), project.path("emopipe")).unwrap();
    fs::set_permissions(project.root(), fs::Permissions::from_mode(0o755)).unwrap();
    if user(&project, 65534, 65534, "022", &["--version"]).is_some_and(|ran| ran.status.success()) {
        return Some(project);
    }
    eprintln!("SKIPPED {name}: no `setpriv`, or no right to be somebody else");
    None
}

/// Runs the program as a user with a group and a umask.
fn user(project: &Project, user: u32, group: u32, umask: &str, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups"]);
    command.args(["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"]);
    command.arg(project.path("emopipe")).args(arguments).current_dir(project.root());
    command.env("HOME", "/nonexistent").env_remove("XDG_CONFIG_HOME").env_remove("EMOPIPE_STORE").output().ok()
}

#[test]
fn a_group_shares_a_store() {
    let Some(project) = shared("a_group_shares_a_store") else { return };
    for (umask, mode) in [("002", 0o2775), ("022", 0o2775), ("077", 0o2770)] {
        let store = project.path("store");
        let _ = fs::remove_dir_all(&store);
        fs::create_dir(&store).unwrap();
        chown(&store, Some(0), Some(5000)).unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(mode)).unwrap();
        for (id, folder) in [(5001, "ann"), (5002, "bob")] {
            let _ = fs::remove_dir_all(project.path(folder));
            project.write(&format!("{folder}/p.toml"), PIPELINE);
            chown(project.path(folder), Some(id), Some(5000)).unwrap();
        }
        let run = |id: u32, arguments: &[&str]| {
            let ran = user(&project, id, 5000, umask, arguments).unwrap();
            assert!(ran.status.success(), "umask {umask}: {arguments:?}: {}", text(&ran));
            text(&ran)
        };
        let with = |command: &'static str, file: &'static str| vec![command, file, "--store", "store"];
        run(5001, &with("run", "ann/p.toml"));
        let second = run(5002, &with("run", "bob/p.toml"));
        assert!(second.contains("nothing to do"), "{second}");
        project.write("bob/p.toml", &PIPELINE.replace("echo 2", "echo 3"));
        run(5002, &with("run", "bob/p.toml"));
        run(5001, &with("clean", "ann/p.toml"));
        run(5002, &["gc", "--store", "store"]);
        run(5001, &with("run", "ann/p.toml"));
        run(5001, &["gc", "ann/p.toml", "--store", "store"]);
        run(5002, &with("run", "bob/p.toml"));
        run(5002, &["verify", "--repair", "--store", "store"]);
    }
    // Where the folder isn't the group's, the remedy is named.
    let private = project.path("private");
    fs::create_dir(&private).unwrap();
    chown(&private, Some(5001), Some(5000)).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(user(&project, 5001, 5000, "022", &["run", "ann/p.toml", "--store", "private"]).unwrap().status.success());
    let refused = user(&project, 5002, 5000, "022", &["run", "bob/p.toml", "--store", "private"]).unwrap();
    assert!(!refused.status.success());
    assert!(text(&refused).contains("chmod -R g+rwX"), "{}", text(&refused));
}

#[test]
fn who_may_only_read_a_store_can_ask_everything() {
    let Some(project) = shared("who_may_only_read_a_store") else { return };
    assert!(project.emopipe(&["run"]).ok().stderr().contains("2 ran"));
    let before = all_below(&project.path("cache"));
    let ask = |arguments: &[&str]| user(&project, 65534, 65534, "022", arguments).unwrap();
    for command in [
        &["status", "pipeline.toml", "--all"][..],
        &["plan", "pipeline.toml", "--all"],
        &["explain", "pipeline.toml", "two"],
        &["du"],
        &["verify"],
        &["verify", "pipeline.toml"],
        &["gc", "--dry-run"],
        &["diff", "last", "last"],
        &["graph", "pipeline.toml"],
    ] {
        let ran = ask(command);
        assert!(ran.status.success(), "{command:?}: {}", text(&ran));
    }
    assert!(text(&ask(&["plan", "pipeline.toml"])).contains("0 to run, 2 cached"));
    for command in [&["run", "pipeline.toml"][..], &["gc"], &["clean", "pipeline.toml"], &["verify", "--repair"]] {
        let ran = ask(command);
        assert_eq!(ran.status.code(), Some(1), "{command:?}: {}", text(&ran));
        assert!(text(&ran).contains("Permission denied") && text(&ran).contains("help"), "{command:?}: {}", text(&ran));
    }
    assert_eq!(all_below(&project.path("cache")), before);

    // A store that can be read is a remote that can be pulled from, once it has been pushed to.
    let remote = project.path("remote");
    fs::create_dir(&remote).unwrap();
    let with_remote = format!("{PIPELINE}\n[remote]\nurl = \"{}\"\n", remote.display());
    project.write("pipeline.toml", &with_remote);
    project.emopipe(&["push"]).ok();
    let mine = project.path("mine");
    fs::create_dir(&mine).unwrap();
    chown(&mine, Some(65534), Some(65534)).unwrap();
    let pulled = ask(&["pull", "pipeline.toml", "--store", "mine/cache"]);
    assert!(pulled.status.success(), "{}", text(&pulled));
    assert!(text(&ask(&["plan", "pipeline.toml", "--store", "mine/cache"])).contains("0 to run, 2 cached"));
}

/// The old file or the new one, also where the disk is full.
#[test]
fn a_lock_file_that_cannot_be_written_stays_as_it_was() {
    let project = Project::new(PIPELINE);
    project.emopipe(&["run"]).ok();
    let disk = project.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&disk).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED a_lock_file_that_cannot_be_written: no right to mount a filesystem here");
        return;
    }
    let lock = |text: &str| {
        project.write("disk/p.toml", text);
        let root = project.path("cache");
        project.command(&["lock", "disk/p.toml", "--store", root.to_str().unwrap()]).output().unwrap()
    };
    let first = lock(PIPELINE);
    let before = fs::read(disk.join("p.lock"));
    project.write("pipeline.toml", &PIPELINE.replace("echo 2", "echo 3"));
    let ran = project.emopipe(&["run"]);
    project.write("disk/p.toml", &project.read("pipeline.toml"));
    let filled = fs::write(disk.join("full"), vec![0; 1 << 20]).is_err();
    let refused = project.command(&["lock", "disk/p.toml", "--store", "cache"]).output().unwrap();
    let after = fs::read(disk.join("p.lock"));
    let names = fs::read_dir(&disk).unwrap().count();
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    ran.ok();
    assert!(first.status.success() && filled);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("No space left"), "{}", text(&refused));
    assert_eq!((after.unwrap(), names), (before.unwrap(), 3));
}

#[test]
fn a_killed_collection_is_made_up_for() {
    for point in ["gc:1", "gc:2", "gc-index:1"] {
        let project = Project::new(PIPELINE);
        project.emopipe(&["run"]).ok();
        let other = PIPELINE.replace("echo 1", "echo 4");
        project.write("pipeline.toml", &other);
        let killed = project.command(&["gc", "pipeline.toml"]).env("EMOPIPE_FAILPOINT", point).output().unwrap();
        assert_eq!(killed.status.code(), None, "{point}: {}", text(&killed));
        project.emopipe(&["verify"]).fails(1);
        project.emopipe(&["verify", "--repair"]).ok();
        project.emopipe(&["verify"]).ok();
        project.emopipe(&["run"]).ok();
        project.emopipe(&["gc", "pipeline.toml"]).ok();
        assert_eq!(project.read("out/y"), "4\n2\n");
    }
}

/// A repair takes descriptions out that a power failure has emptied; the next run writes them anew.
#[test]
fn lost_descriptions_come_back() {
    let project = Project::new(PIPELINE);
    project.emopipe(&["run"]).ok();
    let descriptions: Vec<PathBuf> = all_below(&project.path("cache/actions"))
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    assert_eq!(descriptions.len(), 2);
    for path in &descriptions {
        fs::remove_file(path).unwrap();
        fs::write(path, "").unwrap();
    }
    let damaged = project.emopipe(&["verify"]).fails(1).stdout();
    assert_eq!(damaged.matches("empty; the result is sound").count(), 2, "{damaged}");
    project.emopipe(&["verify", "--repair"]).ok();
    project.emopipe(&["verify"]).ok();
    project.command(&["run", "pipeline.toml"]).env("EMOPIPE_MEMO", "off").output().unwrap();
    assert!(project.computed().is_empty());
    assert!(descriptions.iter().all(|path| path.is_file()));
    assert!(!project.emopipe(&["explain", "two"]).ok().stdout().contains("lost"));
}
