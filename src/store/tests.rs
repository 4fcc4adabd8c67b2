//! A store from publication to collection and repair.

use std::{collections::HashSet, fs, io::Write};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::base::digest::Digest;

fn folder_with(store: &Store, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = store.staging().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn publish(store: &Store, key: &str, files: &[(&str, &str)]) -> (Digest, ActionResult) {
    let key = Digest::of(key.as_bytes());
    let folder = folder_with(store, files);
    let result = store.publish(key, "stage", folder.path(), &json!({"n": 1})).unwrap();
    (key, result)
}

#[test]
fn a_result_is_found_again_also_by_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let other = Store::open(dir.path()).unwrap();
    let (key, result) = publish(&store, "a", &[("x.txt", "one"), ("sub/y.txt", "two")]);
    assert_eq!(store.lookup(&key), Some(result.clone()));
    assert_eq!(other.lookup(&key), None);
    other.refresh().unwrap();
    assert_eq!(other.lookup(&key), Some(result.clone()));
    assert_eq!(other.latest_key("stage"), Some(key));
    assert_eq!(other.preimage(&key), Some(json!({"n": 1})));
    let paths = store.paths(&result);
    assert_eq!(fs::read_to_string(&paths["sub/y.txt"]).unwrap(), "two");
    assert!(fs::metadata(&paths["x.txt"]).unwrap().permissions().readonly());
}

#[test]
fn a_missing_or_shortened_blob_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (key, result) = publish(&store, "a", &[("x.txt", "one")]);
    let blob = store.blob(&result.files[0].digest);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "on").unwrap();
    assert_eq!(store.lookup(&key), None);
    publish(&store, "a", &[("x.txt", "one")]);
    assert_eq!(store.lookup(&key), Some(result));
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
fn what_is_owed_to_a_remote_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    assert!(store.pending_pushes().unwrap().is_empty());
    store.clear_pending_push(&a).unwrap();
    store.mark_pending_push(&a).unwrap();
    store.mark_pending_push(&b).unwrap();
    store.clear_pending_push(&b).unwrap();
    assert_eq!(Store::open(dir.path()).unwrap().pending_pushes().unwrap(), HashSet::from([a]));
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

fn keeping(keep: HashSet<Digest>) -> Retention {
    Retention { keep: Some(keep), ..Retention::default() }
}

#[test]
fn collection_waits_for_nobody_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (key, _) = publish(&store, "a", &[("x", "1")]);
    assert!(Store::open_alone(dir.path()).unwrap_err().message.contains("in use"));
    assert!(store.lookup(&key).is_some());
    drop(store);
    let alone = Store::open_alone(dir.path()).unwrap();
    assert!(Store::open(dir.path()).unwrap_err().message.contains("being cleaned"));
    let garbage = alone.garbage(&keeping(HashSet::new())).unwrap();
    assert_eq!(alone.sweep(&garbage).unwrap().results, 1);
}

#[test]
fn of_two_results_under_one_key_both_stay_and_the_first_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (key, first) = publish(&store, "a", &[("x", "1")]);
    assert!(!store.is_ambiguous(&key));
    publish(&store, "a", &[("x", "1")]);
    assert!(!store.is_ambiguous(&key), "the same bytes again say nothing new");
    let (_, second) = publish(&store, "a", &[("x", "2")]);
    assert_eq!(store.lookup(&key), Some(first.clone()));
    assert_eq!(first.first_difference(&second), Some("x"));
    drop(store);
    let alone = Store::open_alone(dir.path()).unwrap();
    let garbage = alone.garbage(&Retention::default()).unwrap();
    alone.sweep(&garbage).unwrap();
    drop(alone);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.known(&key).unwrap().results, [first.clone(), second.clone()], "also after a compaction");
    store.drop_blob(&first.files[0].digest).unwrap();
    assert_eq!(store.lookup(&key), Some(second));
    store.forget(&key).unwrap();
    assert_eq!(store.known(&key), None);
}

#[test]
fn an_accepted_result_stands_until_there_is_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (from, result) = publish(&store, "a", &[("x", "1")]);
    let key = Digest::of(b"b");
    let acceptance = Acceptance { from, note: "only a comment".into() };
    store.accept(key, "stage", &result, acceptance.clone(), &json!({})).unwrap();
    assert_eq!((store.lookup(&key), store.acceptance(&key)), (Some(result.clone()), Some(acceptance.clone())));
    drop(store);
    let alone = Store::open_alone(dir.path()).unwrap();
    // The result that stood in may go; what was said of it stays.
    alone.sweep(&alone.garbage(&keeping([key].into())).unwrap()).unwrap();
    drop(alone);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!((store.lookup(&from), store.acceptance(&key)), (None, Some(acceptance)));
    let (_, own) = publish(&store, "b", &[("x", "2")]);
    assert_eq!((store.lookup(&key), store.acceptance(&key)), (Some(own), None));
    assert!(store.is_ambiguous(&key), "it shows that the promise was wrong");
}

fn describes(key: &Digest, record: &serde_json::Value) -> bool {
    record["n"] == 1 && !key.to_string().is_empty()
}

/// Not by a command: a child that is being started holds this process's locks for a moment.
fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Flips one bit of each file in turn, of each kind of file there is.
#[test]
fn any_flipped_bit_is_found_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let contents: [&[(&str, &str)]; 3] = [&[("x", "one"), ("y", "two")], &[("x", "three")], &[("z", "one")]];
    for (i, files) in contents.iter().enumerate() {
        publish(&store, &i.to_string(), files);
    }
    assert_eq!(store.audit(&describes, &|_, _| {}).unwrap().damage, []);
    drop(store);
    let mut files: Vec<(std::path::PathBuf, usize)> = Vec::new();
    for folder in ["blobs", "actions"] {
        for shard in fs::read_dir(dir.path().join(folder)).unwrap() {
            files.extend(fs::read_dir(shard.unwrap().path()).unwrap().map(|e| (e.unwrap().path(), 0)));
        }
    }
    let index = dir.path().join("index.jsonl");
    files.extend((0..fs::metadata(&index).unwrap().len() as usize).step_by(7).map(|at| (index.clone(), at)));
    for (file, at) in &files {
        let sound = fs::read(file).unwrap();
        let mut bytes = sound.clone();
        bytes[*at] ^= 4;
        let write = |bytes: &[u8]| {
            fs::remove_file(file).unwrap();
            fs::write(file, bytes).unwrap();
        };
        write(&bytes);
        let store = Store::open(dir.path()).unwrap();
        let found = store.audit(&describes, &|_, _| {}).unwrap();
        assert!(!found.damage.is_empty(), "{} at {at}", file.display());
        if let Damage::Blob { results, .. } = &found.damage[0] {
            assert!(!results.is_empty());
        }
        drop(store);
        // What a repair leaves behind, on a copy.
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), copy.path());
        let alone = Store::open_alone(copy.path()).unwrap();
        let audit = alone.audit(&describes, &|_, _| {}).unwrap();
        alone.repair(&audit).unwrap();
        assert_eq!(alone.audit(&describes, &|_, _| {}).unwrap().damage, []);
        drop(alone);
        let store = Store::open(copy.path()).unwrap();
        let whole: Vec<_> = store.results().into_iter().filter(|(key, _)| store.lookup(key).is_some()).collect();
        assert_eq!(whole.len(), store.len(), "what is left is whole");
        for (_, known) in whole {
            assert_eq!(store.damaged(known.results.iter().flat_map(|o| &o.files)), []);
        }
        drop(store);
        write(&sound);
    }
    println!("{} flips", files.len());
}

#[test]
fn a_rotten_blob_is_replaced_when_its_bytes_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (_, result) = publish(&store, "a", &[("x", "one")]);
    let blob = store.blob(&result.files[0].digest);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "onf").unwrap();
    assert_eq!(store.damaged(&result.files), [result.files[0].digest]);
    publish(&store, "b", &[("y", "one")]);
    assert_eq!(store.damaged(&result.files), []);
}

#[test]
fn age_and_size_decide_what_goes() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let store = Store::open_alone(dir.path()).unwrap();
    let keys: Vec<Digest> =
        (0..5).map(|i| publish(&store, &i.to_string(), &[("x", &i.to_string().repeat(10))]).0).collect();
    let last_used = [(keys[0], 50), (keys[1], 10), (keys[2], 30), (keys[3], 30), (keys[4], 5)].into();
    let gone = |retention: &Retention| -> Vec<Digest> {
        store.garbage(retention).unwrap().results.iter().map(|r| r.key).collect()
    };
    let base = Retention { last_used, now: 60, ..Retention::default() };
    assert_eq!(gone(&base), []);
    let old = Retention { unused_since: Some(20), ..base };
    assert_eq!(gone(&old), [keys[1], keys[4]]);
    let kept = Retention { keep: Some([keys[4]].into()), ..old };
    assert_eq!(gone(&kept), [keys[1]]);
    let small = Retention { unused_since: None, max_size: Some(25), ..kept };
    assert_eq!(gone(&small), [keys[1], keys[2], keys[3]], "to 20 bytes, the least recently used first");
    let middle = Retention { max_size: Some(30), ..small };
    assert_eq!(gone(&middle), [keys[1], keys[3]], "of one age, the one made last");
}

#[test]
fn checkpoints_of_unfinished_actions_survive_a_collection_until_they_are_old() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let store = Store::open_alone(dir.path()).unwrap();
    let (done, _) = publish(&store, "a", &[("x", "1")]);
    let open = Digest::of(b"open");
    for key in [done, open] {
        let work = store.work(&key, true);
        fs::create_dir_all(&work).unwrap();
        fs::write(work.join("checkpoint"), "bytes").unwrap();
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    store.sweep(&store.garbage(&Retention { now, ..Retention::default() }).unwrap()).unwrap();
    let left = |key: Digest| dir.path().join("work").join(key.to_string()).exists();
    assert!(!left(done) && left(open));
    let month = 31 * 24 * 3600 * 1000;
    store.sweep(&store.garbage(&Retention { now: now + month, ..Retention::default() }).unwrap()).unwrap();
    assert!(!left(open));
}

#[test]
fn what_lies_in_the_place_of_something_else_is_found_and_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let results: Vec<(Digest, ActionResult)> =
        (0..5).map(|i| publish(&store, &i.to_string(), &[("x", &i.to_string())])).collect();
    let blob = |i: usize| store.blob(&results[i].1.files[0].digest);
    let description = |i: usize| store.preimage_path(&results[i].0);
    let link = |path: &std::path::Path| std::os::unix::fs::symlink("nowhere", path).unwrap();
    fs::remove_file(blob(0)).unwrap();
    fs::create_dir_all(blob(0).join("full")).unwrap();
    fs::remove_file(blob(1)).unwrap();
    link(&blob(1));
    fs::remove_dir_all(blob(2).parent().unwrap()).unwrap();
    fs::write(blob(2).parent().unwrap(), "").unwrap();
    fs::write(description(3), "").unwrap();
    fs::remove_file(description(4)).unwrap();
    fs::create_dir(description(4)).unwrap();
    let shard = dir.path().join("actions/zz");
    fs::write(&shard, "named like no part of a digest").unwrap();
    drop(store);
    let store = Store::open_alone(dir.path()).unwrap();
    let audit = store.audit(&|_, _| true, &|_, _| {}).unwrap();
    assert_eq!(audit.damage.len(), 6, "{:?}", audit.damage);
    let repaired = store.repair(&audit).unwrap();
    assert_eq!(repaired, Repaired { blobs: 3, results: 3, records: 2, lines: 0, places: 1 });
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.audit(&|_, _| true, &|_, _| {}).unwrap().damage, []);
    assert!(shard.exists(), "not ours to judge");
    for (i, result) in results.iter().enumerate() {
        assert_eq!(publish(&store, &i.to_string(), &[("x", &i.to_string())]), *result);
    }
}

#[test]
fn a_line_that_names_a_file_outside_of_its_artifact_is_no_result() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (key, _) = publish(&store, "a", &[("x", "1")]);
    for name in ["../x", "/etc/x", "x\u{1b}[2J", "a/../../x"] {
        let files = json!([{ "name": name, "digest": Digest::of(b"1"), "size": 1 }]);
        let line =
            json!({ "t": "result", "key": Digest::of(name.as_bytes()), "action": "s", "files": files }).to_string();
        let sum = Digest::of(line.as_bytes()).to_string();
        let mut index = fs::File::options().append(true).open(dir.path().join("index.jsonl")).unwrap();
        writeln!(index, "{} {line}", &sum[..16]).unwrap();
    }
    let again = Store::open(dir.path()).unwrap();
    assert!(again.lookup(&key).is_some());
    assert_eq!(again.len(), 1);
    assert_eq!(again.audit(&|_, _| true, &|_, _| {}).unwrap().damage.len(), 4);
}

#[test]
fn collections_take_only_what_is_called_as_we_call_things() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (key, _) = publish(&store, "a", &[("x", "1")]);
    store.forget(&key).unwrap();
    let strangers =
        ["tmp/thesis.txt", "tmp/photos/1.jpg", "locks/k", "work/old/main.c", "memos/x", "runs/mine/x", "blobs/ab/x"];
    for name in strangers {
        fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        fs::write(dir.path().join(name), "precious").unwrap();
    }
    let orphan = store.preimage_path(&Digest::of(b"a result that never came"));
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, "{}").unwrap();
    fs::write(dir.path().join(".emopipe-abc123"), "half an index").unwrap();
    drop(store);
    let store = Store::open_alone(dir.path()).unwrap();
    let all =
        Retention { unused_since: Some(u64::MAX), now: u64::MAX, keep: Some(HashSet::new()), ..Retention::default() };
    store.sweep(&store.garbage(&all).unwrap()).unwrap();
    for name in strangers {
        assert!(dir.path().join(name).exists(), "{name}");
    }
    assert!(!orphan.exists() && !dir.path().join(".emopipe-abc123").exists());
    assert!(store.preimage(&key).is_some(), "the next change is explained against it");
}

#[test]
fn a_store_is_as_open_as_its_folder() {
    for (mode, folder, file, sealed) in
        [(0o2775, 0o2775, 0o664, 0o444), (0o700, 0o700, 0o600, 0o400), (0o755, 0o755, 0o644, 0o444)]
    {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cache");
        fs::create_dir(&root).unwrap();
        crate::base::durable::set_mode(&root, mode).unwrap();
        let store = Store::open(&root).unwrap();
        let (key, result) = publish(&store, "a", &[("x", "1")]);
        let mode = |path: &std::path::Path| crate::base::durable::mode(path).unwrap();
        let blob = store.blob(&result.files[0].digest);
        assert_eq!(mode(&blob), sealed);
        for path in [
            blob.parent().unwrap(),
            &root.join("locks"),
            store.staging().unwrap().path(),
            &store.run_folder("1").unwrap(),
        ] {
            assert_eq!(mode(path), folder, "{}", path.display());
        }
        store.forget(&key).unwrap();
        drop(store);
        let store = Store::open_alone(&root).unwrap();
        store.sweep(&store.garbage(&keeping(HashSet::new())).unwrap()).unwrap();
        publish(&store, "a", &[("x", "1")]);
        for path in [&root.join("index.jsonl"), &store.preimage_path(&key)] {
            assert_eq!(mode(path), file, "{}", path.display());
        }
    }
}

#[test]
fn a_store_that_is_read_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let none = Store::open_to_read(&root).unwrap();
    assert!(none.is_empty() && none.runs().unwrap().is_empty() && !root.exists());
    assert!(Store::open_existing_to_read(&root).is_err());
    let (key, _) = publish(&Store::open(&root).unwrap(), "a", &[("x", "1")]);
    fs::remove_file(root.join("in-use.lock")).unwrap();
    assert!(Store::open_existing_to_read(&root).unwrap().lookup(&key).is_some());
    assert!(!root.join("in-use.lock").exists());
    let alone = Store::open_alone(&root).unwrap();
    assert!(Store::open_to_read(&root).unwrap_err().message.contains("being cleaned"));
    drop(alone);
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
            let (key, result) = publish(&store, &i.to_string(), &files);
            if keep[i] { kept.insert(key); }
            all.push((key, result));
        }
        drop(store);
        let store = Store::open_alone(dir.path()).unwrap();
        let garbage = store.garbage(&keeping(kept.clone())).unwrap();
        store.sweep(&garbage).unwrap();
        let mut needed = HashSet::new();
        for (key, result) in &all {
            prop_assert_eq!(store.lookup(key).is_some(), kept.contains(key));
            if kept.contains(key) { needed.extend(result.files.iter().map(|f| f.digest)); }
        }
        for (_, result) in &all {
            for file in &result.files {
                prop_assert_eq!(store.blob(&file.digest).exists(), needed.contains(&file.digest));
            }
        }
    }

    #[test]
    fn listings_have_one_digest_each(a in prop::collection::btree_map("[a-z/]{1,3}", 0u8..4, 0..4), b in prop::collection::btree_map("[a-z/]{1,3}", 0u8..4, 0..4)) {
        let result = |m: &std::collections::BTreeMap<String, u8>| {
            ActionResult::new(m.iter().map(|(n, c)| FileEntry { name: n.clone(), digest: Digest::of(&[*c]), size: 1 }).collect())
        };
        prop_assert_eq!(result(&a).artifact == result(&b).artifact, a == b);
    }
}
