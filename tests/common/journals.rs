//! What journals say of all runs of a project.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
};

use serde_json::Value;

use super::Project;

/// Events of all runs of the project's store, in the order in which they happened.
pub fn events(project: &Project) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for run in fs::read_dir(project.path("cache/runs")).unwrap() {
        let journal = fs::read_to_string(run.unwrap().path().join("journal.jsonl")).unwrap_or_default();
        // A line that a kill cut short is no event.
        all.extend(journal.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }
    all.sort_by_key(|event| event["time"].as_u64());
    all
}

/// Panics where an action was started whose result was there already. Returns how many were started.
#[track_caller]
pub fn assert_nothing_finished_ran_again(project: &Project) -> usize {
    let mut finished = HashSet::new();
    let mut started = 0;
    for event in events(project) {
        let key = event["key"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            Some("started") => {
                assert!(!finished.contains(&key), "{} was finished and ran again", event["action"]);
                started += 1;
            }
            Some("finished") => drop(finished.insert(key)),
            _ => {}
        }
    }
    started
}

/// Artifact of each action that a run computed or found, the latest one.
pub fn artifacts(project: &Project) -> BTreeMap<String, String> {
    let named = |e: &Value| Some((e["action"].as_str()?.to_owned(), e["artifact"].as_str()?.to_owned()));
    events(project).iter().filter_map(named).collect()
}
