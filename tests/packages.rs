//! What needs a package index: the default run from an empty store, held to the tables that are committed. `make test-packages`
//! runs it where an index answers; a plain `cargo test` needs no network and says that it was left out.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::Project;

/// Set by `make test-packages`.
const ASKED: &str = "EMOPIPE_PACKAGES";

fn asked() -> bool {
    let asked = std::env::var_os(ASKED).is_some();
    if !asked {
        eprintln!("SKIPPED: `make test-packages` runs this where a package index answers");
    }
    asked
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        assert!(fs::copy(entry.path(), to.join(entry.file_name())).unwrap() > 0, "{} is empty", entry.path().display());
    }
}

/// Files whose names begin with `table-`, sorted.
fn tables(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut tables: Vec<_> = files.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("table-")).collect();
    tables.sort();
    tables
}

#[test]
fn the_default_run_gives_the_committed_tables() {
    if !asked() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Project::new("");
    for folder in ["pipelines", "datasets"] {
        copy_folder(&root.join(folder), &project.path(folder));
    }
    let run = || project.command(&["run", "pipelines/paper.toml"]).output().map(common::Ran).unwrap().ok();
    run();
    let committed = tables(&root.join("reports"));
    let made = tables(&project.path("reports"));
    let names = |of: &[PathBuf]| of.iter().map(|p| p.file_name().unwrap().to_owned()).collect::<Vec<_>>();
    assert!(!committed.is_empty());
    assert_eq!(names(&made), names(&committed));
    for (made, committed) in made.iter().zip(&committed) {
        let [made, want] = [made, committed].map(|p| fs::read_to_string(p).unwrap());
        assert_eq!(made, want, "{} isn't what the pipeline makes", committed.display());
    }
    assert!(run().stderr().contains("nothing to do"));
}
