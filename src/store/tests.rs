use std::{collections::HashSet, fs, io::Write};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn folder_with(store: &Store, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = store.staging().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn publish(store: &Store, key: &str, files: &[(&str, &str)]) -> (Digest, Outcome) {
    let key = Digest::of(key.as_bytes());
    let folder = folder_with(store, files);
    let outcome = store.publish(key, "stage", folder.path(), &json!({"n": 1})).unwrap();
    (key, outcome)
}

#[test]
fn a_result_is_found_again_also_by_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let other = Store::open(dir.path()).unwrap();
    let (key, outcome) = publish(&store, "a", &[("x.txt", "one"), ("sub/y.txt", "two")]);
    assert_eq!(store.lookup(&key), Some(outcome.clone()));
    assert_eq!(other.lookup(&key), None);
    other.refresh().unwrap();
    assert_eq!(other.lookup(&key), Some(outcome.clone()));
    assert_eq!(other.latest_key("stage"), Some(key));
    assert_eq!(other.preimage(&key), Some(json!({"n": 1})));
    let paths = store.paths(&outcome);
    assert_eq!(fs::read_to_string(&paths["sub/y.txt"]).unwrap(), "two");
    assert!(fs::metadata(&paths["x.txt"]).unwrap().permissions().readonly());
}

#[test]
fn a_missing_or_shortened_blob_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (key, outcome) = publish(&store, "a", &[("x.txt", "one")]);
    let blob = store.blob(&outcome.files[0].digest);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "on").unwrap();
    assert_eq!(store.lookup(&key), None);
    publish(&store, "a", &[("x.txt", "one")]);
    assert_eq!(store.lookup(&key), Some(outcome));
}

#[test]
fn a_torn_or_rotten_line_is_skipped_and_the_rest_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (first, _) = publish(&store, "a", &[("x", "1")]);
    let index = dir.path().join("index.jsonl");
    fs::File::options().append(true).open(&index).unwrap().write_all(b"0123456789abcdef {\"t\":\"res").unwrap();
    let (second, _) = publish(&store, "b", &[("x", "2")]);
    let again = Store::open(dir.path()).unwrap();
    assert!(again.lookup(&first).is_some() && again.lookup(&second).is_some());
    let mut bytes = fs::read(&index).unwrap();
    bytes[20] ^= 1;
    fs::write(&index, bytes).unwrap();
    let rotten = Store::open(dir.path()).unwrap();
    assert!(rotten.lookup(&first).is_none() && rotten.lookup(&second).is_some());
}

#[test]
fn export_writes_only_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("cache")).unwrap();
    let (_, outcome) = publish(&store, "a", &[("x", "1"), ("y", "2")]);
    let target = dir.path().join("reports");
    assert_eq!(store.export(&outcome, &target).unwrap(), 2);
    fs::write(target.join("x"), "edited").unwrap();
    assert_eq!(store.export(&outcome, &target).unwrap(), 1);
    assert_eq!(fs::read_to_string(target.join("x")).unwrap(), "1");
    assert_eq!(store.export(&outcome, &target).unwrap(), 0);
}

#[test]
fn what_is_owed_to_a_remote_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    assert!(store.unsent().unwrap().is_empty());
    store.mark_sent(&a).unwrap();
    store.mark_unsent(&a).unwrap();
    store.mark_unsent(&b).unwrap();
    store.mark_sent(&b).unwrap();
    assert_eq!(Store::open(dir.path()).unwrap().unsent().unwrap(), HashSet::from([a]));
}

#[test]
fn links_are_refused_as_outputs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let folder = folder_with(&store, &[]);
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).unwrap();
    let error = store.publish(Digest::of(b"k"), "stage", folder.path(), &json!({})).unwrap_err();
    assert!(error.message.contains("link"), "{error}");
}

#[test]
fn collection_waits_for_nobody_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (key, _) = publish(&store, "a", &[("x", "1")]);
    let other = Store::open(dir.path()).unwrap();
    let garbage = store.garbage(Some(&HashSet::new())).unwrap();
    assert!(store.sweep(&garbage).unwrap_err().message.contains("in use"));
    assert!(other.lookup(&key).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is kept stays whole, whatever isn't is gone, also where results share blobs.
    #[test]
    fn collection_keeps_the_closure(contents in prop::collection::vec(prop::collection::vec(0u8..5, 1..4), 1..6), keep in prop::collection::vec(any::<bool>(), 6)) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut kept = HashSet::new();
        let mut all = Vec::new();
        for (i, files) in contents.iter().enumerate() {
            let files: Vec<(String, String)> = files.iter().enumerate().map(|(j, c)| (format!("f{j}"), format!("content {c}"))).collect();
            let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let (key, outcome) = publish(&store, &i.to_string(), &files);
            if keep[i] { kept.insert(key); }
            all.push((key, outcome));
        }
        let garbage = store.garbage(Some(&kept)).unwrap();
        store.sweep(&garbage).unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut needed = HashSet::new();
        for (key, outcome) in &all {
            prop_assert_eq!(store.lookup(key).is_some(), kept.contains(key));
            if kept.contains(key) { needed.extend(outcome.files.iter().map(|f| f.digest)); }
        }
        for (_, outcome) in &all {
            for file in &outcome.files {
                prop_assert_eq!(store.blob(&file.digest).exists(), needed.contains(&file.digest));
            }
        }
    }

    #[test]
    fn listings_have_one_digest_each(a in prop::collection::btree_map("[a-z/]{1,3}", 0u8..4, 0..4), b in prop::collection::btree_map("[a-z/]{1,3}", 0u8..4, 0..4)) {
        let outcome = |m: &std::collections::BTreeMap<String, u8>| {
            Outcome::new(m.iter().map(|(n, c)| FileEntry { name: n.clone(), digest: Digest::of(&[*c]), size: 1 }).collect())
        };
        prop_assert_eq!(outcome(&a).artifact == outcome(&b).artifact, a == b);
    }
}
