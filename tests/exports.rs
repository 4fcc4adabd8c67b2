//! What lies in a project is its owner's: exports never share a place, never replace what emopipe didn't write, and leave
//! nothing behind that nothing makes any more.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use common::Project;
use emopipe::{base::digest::Digest, store::manifest::Manifest};

/// A stage that writes its files into an exported folder.
fn stage(name: &str, export: &str, files: &[(&str, &str)], more: &str) -> String {
    let writes: Vec<String> =
        files.iter().map(|(file, text)| format!("mkdir -p $(dirname $0/{file}); echo {text} > $0/{file}")).collect();
    let outputs: Vec<&str> = files.iter().map(|(file, _)| *file).collect();
    format!(
        "[stages.{name}]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", {:?}, \"{{out}}\"]\noutputs = {outputs:?}\nexport = \"{export}\"\n{more}\n",
        writes.join("; ")
    )
}

fn project(stages: &[String]) -> Project {
    Project::new(&stages.concat())
}

/// Names of the files in a folder, but for the manifest.
fn names(project: &Project, folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(project.path(folder)) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".emopipe.toml");
    names.sort();
    names
}

#[test]
fn two_exports_of_one_path_are_an_error_before_anything_runs() {
    let matrix = "matrix = { b = [\"one\", \"two\"] }";
    let cases = [
        ("a matrix", vec![stage("m", "e", &[("x", "${b}")], matrix)]),
        ("two stages", vec![stage("m", "e", &[("x", "1")], ""), stage("n", "e", &[("x", "1")], "")]),
        ("a detour", vec![stage("m", "e", &[("x", "1")], ""), stage("n", "./f/../e/", &[("x", "1")], "")]),
        ("a folder in a folder", vec![stage("m", "e", &[("s/x", "1")], ""), stage("n", "e/s", &[("x", "1")], "")]),
        ("another case", vec![stage("m", "e", &[("x", "1")], ""), stage("n", "E", &[("X", "1")], "")]),
        ("composed letters", vec![stage("m", "\u{e9}", &[("x", "1")], ""), stage("n", "e\u{301}", &[("x", "1")], "")]),
        ("a file as a folder", vec![stage("m", "e", &[("x", "1")], ""), stage("n", "e/x", &[("y", "1")], "")]),
    ];
    for (name, stages) in cases {
        let project = project(&stages);
        for command in ["run", "plan"] {
            let said = project.emopipe(&[command]).fails(2).stderr();
            assert!(said.contains("export") && said.contains("help"), "{name}: {said}");
            let both = if name == "a matrix" { ["m[b=one]", "m[b=two]"] } else { ["m ", "n "] };
            assert!(both.iter().all(|action| said.contains(action)), "{name} names both: {said}");
        }
        assert!(names(&project, "e").is_empty() && !project.path("cache").exists(), "{name}");
    }
    let remedied = project(&[stage("m", "e/${b}", &[("x", "${b}")], matrix), stage("n", "e", &[("y", "1")], "")]);
    remedied.emopipe(&["run"]).ok();
    assert_eq!((remedied.read("e/two/x").as_str(), remedied.read("e/y").as_str()), ("two\n", "1\n"));
}

#[test]
fn other_files_are_never_replaced_unasked() {
    let project = project(&[stage("a", "out", &[("n.txt", "1"), ("o.txt", "1")], "")]);
    project.write("out/n.txt", "my own notes, never committed\n");
    let refused = project.emopipe(&["run"]).fails(1).stderr();
    assert!(refused.contains("out/n.txt wasn't written by emopipe") && refused.contains("--overwrite"), "{refused}");
    assert_eq!(project.read("out/n.txt"), "my own notes, never committed\n");
    assert_eq!(names(&project, "out"), ["n.txt"], "all or nothing");
    project.emopipe(&["run"]).fails(1);
    assert_eq!(project.computed(), Vec::<String>::new(), "the result was kept");
    project.emopipe(&["run", "--overwrite"]).ok();
    assert_eq!(project.read("out/n.txt"), "1\n");

    // What was edited since is somebody's work, too, also where nothing is to be computed.
    project.emopipe(&["run"]).ok();
    project.write("out/o.txt", "improved\n");
    let refused = project.emopipe(&["run"]).fails(1).stderr();
    assert!(refused.contains("out/o.txt was changed since emopipe wrote it"), "{refused}");
    assert_eq!(project.read("out/o.txt"), "improved\n");
    fs::rename(project.path("out/o.txt"), project.path("out/mine.txt")).unwrap();
    project.emopipe(&["run"]).ok();
    assert_eq!((project.read("out/o.txt").as_str(), project.read("out/mine.txt").as_str()), ("1\n", "improved\n"));
}

#[test]
fn the_pipeline_is_never_exported_over() {
    let project = project(&[stage("a", "parts/..", &[("Pipeline.toml", "1")], "")]);
    let before = project.read("pipeline.toml");
    for arguments in [&["run"][..], &["run", "--overwrite"]] {
        let refused = project.emopipe(arguments).fails(2).stderr();
        assert!(refused.contains("part of the pipeline"), "{refused}");
    }
    assert_eq!(project.read("pipeline.toml"), before);
}

#[test]
fn a_clone_replaces_what_was_committed() {
    let project = project(&[stage("a", "out", &[("n.txt", "1")], "")]);
    project.emopipe(&["run"]).ok();
    let manifest = project.read("out/.emopipe.toml");
    fs::remove_dir_all(project.path("cache")).unwrap();
    project.write("pipeline.toml", &stage("a", "out", &[("n.txt", "2")], ""));
    project.emopipe(&["run"]).ok();
    assert_eq!(project.read("out/n.txt"), "2\n");
    project.write("pipeline.toml", &stage("a", "out", &[("n.txt", "1")], ""));
    project.emopipe(&["run"]).ok();
    assert_eq!(project.read("out/.emopipe.toml"), manifest, "the same exports give the same bytes");
}

#[test]
fn what_nothing_makes_any_more_is_removed_unless_it_was_edited() {
    let project = project(&[
        stage("a", "out", &[("table-1.md", "1"), ("table-1.csv", "1"), ("deep/er/x", "1")], ""),
        stage("b", "other", &[("b", "1")], ""),
    ]);
    project.emopipe(&["run"]).ok();
    project.write("out/table-1.csv", "edited\n");
    project.write("out/notes", "mine\n");
    project.write("pipeline.toml", &stage("a", "out", &[("main.md", "1")], ""));
    // A run of a part says nothing of the rest.
    project.emopipe(&["run", "--until", "a"]).ok();
    let said = project.emopipe(&["run"]).ok().stderr();
    assert_eq!(names(&project, "out"), ["main.md", "notes", "table-1.csv"], "{said}");
    assert!(!project.path("other").exists());
    assert_eq!(project.read("out/table-1.csv"), "edited\n");
    project.emopipe(&["run"]).ok();
    assert_eq!(names(&project, "out"), ["main.md", "notes", "table-1.csv"]);
}

/// A failure or `--only` is no reason to think that the rest isn't made any more.
#[test]
fn a_run_that_fails_removes_nothing() {
    let project = project(&[stage("a", "out", &[("x", "1"), ("y", "1")], ""), stage("b", "out", &[("b", "1")], "")]);
    project.emopipe(&["run"]).ok();
    let broken = stage("b", "out", &[("c", "1")], "").replace("echo", "false && echo");
    project.write("pipeline.toml", &[stage("a", "out", &[("x", "2")], ""), broken].concat());
    project.emopipe(&["run", "--keep-going"]).fails(1);
    assert_eq!(names(&project, "out"), ["b", "x", "y"]);
    project
        .write("pipeline.toml", &[stage("a", "out", &[("x", "2")], ""), stage("b", "out", &[("c", "1")], "")].concat());
    project.emopipe(&["run", "--only", "a"]).ok();
    assert_eq!(names(&project, "out"), ["b", "x"]);
    project.emopipe(&["run"]).ok();
    assert_eq!(names(&project, "out"), ["c", "x"]);
}

#[test]
fn a_link_out_of_the_project_is_noticed_before_anything_runs() {
    let project = project(&[stage("a", "out", &[("n.txt", "1")], "")]);
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), project.path("out")).unwrap();
    let refused = project.emopipe(&["run"]).fails(1).stderr();
    assert!(refused.contains("leads out of the project through a link"), "{refused}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    fs::remove_file(project.path("out")).unwrap();
    project.write("pipeline.toml", &stage("a", "cache/out", &[("n.txt", "1")], ""));
    assert!(project.emopipe(&["run"]).fails(1).stderr().contains("into the store"));
}

#[test]
fn a_kill_between_files_and_manifest_changes_nothing_for_the_next_run() {
    let project = project(&[stage("a", "out", &[("x", "1"), ("y", "1")], "")]);
    project.emopipe(&["run"]).ok();
    fs::remove_file(project.path("out/.emopipe.toml")).unwrap();
    project.write("out/.emopipe-k1ll3d", "half a copy");
    project.write("out/.emopipe-notes.txt", "not ours");
    project.write("pipeline.toml", &stage("a", "out", &[("x", "2"), ("y", "1")], ""));
    project.emopipe(&["run"]).ok();
    assert_eq!(
        (project.read("out/x").as_str(), names(&project, "out")),
        ("2\n", [".emopipe-notes.txt", "x", "y"].map(str::to_owned).into())
    );
    // Exports of a folder whose manifest a merge has left open are nobody's guess.
    project.write("out/.emopipe.toml", "<<<<<<< ours\n");
    project.write("pipeline.toml", &stage("a", "out", &[("x", "3"), ("y", "1")], ""));
    assert!(project.emopipe(&["run"]).fails(1).stderr().contains("merge"));
    assert_eq!(project.read("out/x"), "2\n");
}

/// What is committed under `reports` is emopipe's, as its manifests say, so that a fresh clone replaces it.
#[test]
fn committed_reports_are_what_their_manifests_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut listed = BTreeMap::new();
    for folder in ["reports", "reports/paper-dry"] {
        let manifest = Manifest::read(&root.join(folder)).unwrap();
        assert!(!manifest.files.is_empty(), "{folder} has a manifest");
        listed.extend(manifest.files.into_iter().map(|(name, made)| (root.join(folder).join(name), made.blake3)));
    }
    for (file, digest) in &listed {
        assert_eq!(Digest::of_file(file).unwrap(), *digest, "{}: run the pipeline, which writes both", file.display());
    }
    let all = ["reports", "reports/paper-dry"].iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let all = all.map(|e| e.unwrap().path()).filter(|path| path.is_file() && !path.ends_with(".emopipe.toml"));
    let unlisted: Vec<PathBuf> = all.filter(|path| !listed.contains_key(path)).collect();
    assert_eq!(unlisted, Vec::<PathBuf>::new());
}
