//! Exports into a project: what is placed, replaced, removed and left alone.

use std::os::unix::fs::symlink;

use super::*;
use crate::store::manifest;

/// The name of an action, its folder, and its files with their contents.
type Exported<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// A project with a store; results are published under names that a plan would use.
struct Project {
    dir: tempfile::TempDir,
    store: Store,
}

impl Project {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn result(&self, by: &str, files: &[(&str, &str)]) -> ActionResult {
        let folder = self.store.staging().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let key = Digest::of(format!("{by}{files:?}").as_bytes());
        self.store.publish(key, by, folder.path(), &serde_json::json!({})).unwrap()
    }

    fn exports(&self, overwrite: bool) -> Exports<'_> {
        Exports::new(&self.store, self.dir.path(), [self.path("p.toml")], overwrite).unwrap()
    }

    /// A run of the pipeline `p` that exports these.
    fn run(&self, exported: &[Exported]) -> Result<Vec<Removed>> {
        let mut exports = self.exports(false);
        let mut planned = BTreeMap::new();
        for (action, folder, files) in exported {
            let by = format!("p::{action}");
            exports.place(&by, folder, &self.result(&by, files))?;
            planned.insert(by, (*folder).to_owned());
        }
        exports.finish("p::", Some(&planned))
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != manifest::FILE);
        names.sort();
        names
    }
}

#[test]
fn what_emopipe_wrote_is_replaced_and_nothing_else() {
    let project = Project::new();
    project.run(&[("a", "out", &[("x", "1"), ("sub/y", "1")])]).unwrap();
    assert_eq!((project.read("out/x").as_str(), project.read("out/sub/y").as_str()), ("1", "1"));
    project.run(&[("a", "out", &[("x", "2"), ("sub/y", "2")])]).unwrap();
    project.write("out/x", "my words");
    let error = project.run(&[("a", "out", &[("x", "3"), ("sub/y", "3")])]).unwrap_err();
    assert!(error.message.contains("out/x was changed since emopipe wrote it"), "{error}");
    assert!(error.help.unwrap().contains("--overwrite"));
    assert_eq!(project.read("out/sub/y"), "2", "all files of a result or none");
    project.write("out/new", "my own");
    let error = project.run(&[("a", "out", &[("new", "4")])]).unwrap_err();
    assert!(error.message.contains("out/new wasn't written by emopipe"), "{error}");
    let mut exports = project.exports(true);
    assert_eq!(exports.place("p::a", "out", &project.result("p::a", &[("new", "4"), ("x", "4")])).unwrap(), 2);
    exports.finish("p::", None).unwrap();
    assert_eq!((project.read("out/x").as_str(), project.read("out/new").as_str()), ("4", "4"));
}

#[test]
fn a_file_that_is_right_already_becomes_ours() {
    let project = Project::new();
    project.write("out/x", "1");
    project.run(&[("a", "out", &[("x", "1")])]).unwrap();
    project.run(&[("a", "out", &[("x", "2")])]).unwrap();
    assert_eq!(project.read("out/x"), "2");
}

#[test]
fn what_a_killed_run_placed_is_known_without_a_manifest() {
    let project = Project::new();
    let mut killed = project.exports(false);
    killed.place("p::a", "out", &project.result("p::a", &[("x", "1")])).unwrap();
    drop(killed);
    assert!(!project.path("out").join(manifest::FILE).exists());
    project.write("out/.emopipe-abc123", "half a copy");
    project.run(&[("a", "out", &[("x", "2")])]).unwrap();
    assert_eq!((project.read("out/x").as_str(), project.files("out")), ("2", vec!["x".to_owned()]));
}

#[test]
fn a_clone_without_the_store_knows_what_is_emopipes() {
    let project = Project::new();
    project.run(&[("a", "out", &[("x", "1")])]).unwrap();
    let clone = Project::new();
    for file in ["out/x", &format!("out/{}", manifest::FILE)] {
        clone.write(file, &project.read(file));
    }
    clone.run(&[("a", "out", &[("x", "2")])]).unwrap();
    assert_eq!(clone.read("out/x"), "2");
}

#[test]
fn what_is_no_longer_made_goes_unless_it_was_edited() {
    let project = Project::new();
    project.run(&[("a", "out", &[("x", "1"), ("y", "1"), ("sub/z", "1")]), ("b", "out", &[("b", "1")])]).unwrap();
    project.write("out/y", "edited");
    project.write("out/mine", "mine");
    let removed = project.run(&[("a", "out", &[("w", "1")]), ("b", "out", &[("b", "1")])]).unwrap();
    let expected = Removed { folder: "out".into(), files: vec!["sub/z".into(), "x".into()], left: vec!["y".into()] };
    assert_eq!(removed, [expected]);
    assert_eq!(project.files("out"), ["b", "mine", "w", "y"]);
    assert_eq!(project.run(&[("a", "out", &[("w", "1")]), ("b", "out", &[("b", "1")])]).unwrap(), []);
}

#[test]
fn actions_and_folders_that_are_left_are_tidied_too() {
    let project = Project::new();
    project.run(&[("a", "out", &[("x", "1")]), ("b", "other/deep", &[("y", "1")])]).unwrap();
    project.run(&[("a", "./new/../moved", &[("x", "1")])]).unwrap();
    assert_eq!((project.files("out"), project.files("other/deep")), (vec![], vec![]));
    assert!(!project.path("out").exists());
    assert_eq!(project.files("moved"), ["x"]);
    // The same folder by another name is no other folder.
    project.run(&[("a", "moved", &[("x", "1")])]).unwrap();
    symlink("moved", project.path("link")).unwrap();
    project.run(&[("a", "link", &[("x", "1")])]).unwrap();
    assert_eq!(project.files("moved"), ["x"]);
}

#[test]
fn pipelines_that_share_a_folder_leave_each_other_alone() {
    let project = Project::new();
    project.run(&[("a", "out", &[("x", "1")])]).unwrap();
    let mut other = project.exports(false);
    other.place("q::a", "out", &project.result("q::a", &[("z", "1")])).unwrap();
    other.finish("q::", Some(&[("q::a".to_owned(), "out".to_owned())].into())).unwrap();
    assert_eq!(project.files("out"), ["x", "z"]);
    // But half of an artifact is worth nothing.
    project.run(&[("a", "out", &[("x", "1"), ("y", "1")])]).unwrap();
    let mut other = project.exports(false);
    other.place("q::a", "out", &project.result("q::a", &[("z", "1"), ("x", "2")])).unwrap();
    other.finish("q::", Some(&[("q::a".to_owned(), "out".to_owned())].into())).unwrap();
    assert_eq!(project.files("out"), ["x", "z"]);
}

#[test]
fn two_actions_never_share_a_place() {
    let project = Project::new();
    fs::create_dir(project.path("out")).unwrap();
    symlink("out", project.path("same")).unwrap();
    let error = project.run(&[("a", "out", &[("x", "1")]), ("b", "same", &[("x", "1")])]).unwrap_err();
    assert!(error.message.contains("`p::a` and `p::b` both export"), "{error}");
}

#[test]
fn links_lead_nowhere_unasked() {
    let project = Project::new();
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path().canonicalize().unwrap();
    symlink(&outside, project.path("out")).unwrap();
    let error = project.run(&[("a", "out", &[("x", "1")])]).unwrap_err();
    assert!(error.message.contains("leads out of the project through a link"), "{error}");
    assert!(project.run(&[("a", "out/deeper", &[("x", "1")])]).is_err());
    assert!(project.run(&[("a", "cache/mine", &[("x", "1")])]).unwrap_err().message.contains("into the store"));
    assert!(project.run(&[("a", ".", &[("cache/x", "1")])]).unwrap_err().message.contains("in the store"));
    fs::create_dir(project.path("in")).unwrap();
    symlink(&outside, project.path("in/sub")).unwrap();
    assert!(project.run(&[("a", "in", &[("sub/x", "1")])]).unwrap_err().message.contains("out of its folder"));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // A file that is a link isn't replaced, nor is what it leads to.
    fs::write(outside.join("diary"), "dear diary").unwrap();
    symlink(outside.join("diary"), project.path("in/x")).unwrap();
    assert!(project.run(&[("a", "in", &[("x", "1")])]).unwrap_err().message.contains("is a link"));
    // What is said is done.
    project.run(&[("a", outside.join("there").to_str().unwrap(), &[("x", "1")])]).unwrap();
    assert_eq!(fs::read_to_string(outside.join("there/x")).unwrap(), "1");
    assert_eq!(fs::read_to_string(outside.join("diary")).unwrap(), "dear diary");
}

#[test]
fn the_pipeline_and_folders_are_never_replaced() {
    let project = Project::new();
    project.write("p.toml", "[stages]");
    fs::create_dir_all(project.path("x/y")).unwrap();
    for file in ["p.toml", "x"] {
        let refused = project.exports(true).place("p::a", ".", &project.result("p::a", &[(file, "1")]));
        assert!(!refused.unwrap_err().help.unwrap().contains("--overwrite"));
    }
    assert_eq!(project.read("p.toml"), "[stages]");
}

#[test]
fn a_damaged_blob_is_not_exported() {
    let project = Project::new();
    let result = project.result("p::a", &[("x", "1")]);
    let blob = project.store.blob(&result.files[0].digest);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "2").unwrap();
    assert!(project.exports(false).place("p::a", "out", &result).unwrap_err().message.contains("damaged"));
    assert!(!project.path("out/x").exists());
}
