//! Two machines that share results through a folder.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, mpsc::channel},
};

use serde_json::json;

use super::{session::PATIENCE, *};
use crate::{
    base::{digest::Digest, error::Result},
    store::{ActionResult, Store},
};

struct Machine {
    _dir: tempfile::TempDir,
    store: Arc<Store>,
    remote: Remote,
}

impl Machine {
    fn new(folder: &std::path::Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("cache")).unwrap());
        Self { _dir: dir, store, remote: Remote::new(Settings::for_folder(folder)) }
    }

    fn publish(&self, key: &str, files: &[(&str, Vec<u8>)]) -> (Digest, ActionResult) {
        let key = Digest::of(key.as_bytes());
        let folder = self.store.staging().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let result = self.store.publish(key, "stage", folder.path(), &json!({"of": "stage"})).unwrap();
        (key, result)
    }

    fn push(&self, key: Digest, anew: bool) -> Result<Pushed> {
        let (send, receive) = channel();
        self.remote.push(&self.store, key, anew, move |answer| send.send(answer).unwrap());
        receive.recv().unwrap()
    }

    fn pull(&self, key: Digest) -> Result<Pulled> {
        let (send, receive) = channel();
        self.remote.pull(&self.store, key, "other:stage", move |answer| send.send(answer).unwrap());
        receive.recv().unwrap()
    }

    fn pull_damaged(&self, key: Digest) -> String {
        match self.pull(key) {
            Ok(Pulled::Damaged(why)) => why,
            other => panic!("{other:?}"),
        }
    }
}

/// Bytes that are the same in every run and don't repeat.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn object(folder: &tempfile::TempDir, kind: &str, digest: &Digest) -> PathBuf {
    let hex = digest.to_string();
    folder.path().join("v1").join(kind).join(&hex[..2]).join(&hex[2..])
}

#[test]
fn what_one_machine_sends_another_fetches() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Machine::new(folder.path()), Machine::new(folder.path()));
    // More than two parts, an empty file, and the same content twice.
    let files = [("big", noise(1, 20 << 20)), ("empty", vec![]), ("x", noise(2, 10)), ("y", noise(2, 10))];
    let (key, result) = a.publish("k", &files);
    assert!(matches!(b.pull(key), Ok(Pulled::Absent)));
    let total = (20 << 20) + 10;
    assert_eq!(a.push(key, false).unwrap(), Pushed::Sent { bytes: total });
    assert_eq!(a.push(key, false).unwrap(), Pushed::Present);
    match b.pull(key) {
        Ok(Pulled::Found { result: found, bytes }) => assert_eq!((found, bytes), (result.clone(), total)),
        other => panic!("{other:?}"),
    }
    assert_eq!(b.store.lookup(&key), Some(result.clone()));
    assert_eq!(fs::read(&b.store.paths(&result)["big"]).unwrap(), files[0].1);
    assert_eq!(b.store.preimage(&key), Some(json!({"of": "stage"})));
    assert_eq!(b.store.latest_key("other:stage"), Some(key));
    assert_eq!(fs::read_dir(b.store.root().join("tmp")).unwrap().count(), 0, "nothing is left over");
}

#[test]
fn damage_is_a_miss_and_the_next_push_mends_it() {
    type Harm = fn(&mut Vec<u8>);
    let harms: [(&str, Harm); 3] =
        [("flipped", |b| b[5] ^= 1), ("truncated", |b| b.truncate(7)), ("grown", |b| b.push(0))];
    for (what, harm) in harms {
        for kind in ["blobs", "results"] {
            let folder = tempfile::tempdir().unwrap();
            let a = Machine::new(folder.path());
            let (key, result) = a.publish("k", &[("x", noise(1, 100)), ("y", noise(2, 100))]);
            a.push(key, false).unwrap();
            let digest = if kind == "blobs" { result.files[0].digest } else { key };
            let place = object(&folder, kind, &digest);
            let mut bytes = fs::read(&place).unwrap();
            harm(&mut bytes);
            fs::write(&place, bytes).unwrap();

            let b = Machine::new(folder.path());
            b.pull_damaged(key);
            assert_eq!(b.store.lookup(&key), None, "{what} {kind}");
            assert!(!b.store.blob(&digest).exists(), "{what} {kind}");
            b.publish("k", &[("x", noise(1, 100)), ("y", noise(2, 100))]);
            b.push(key, false).unwrap();
            let c = Machine::new(folder.path());
            assert!(matches!(c.pull(key), Ok(Pulled::Found { .. })), "{what} {kind} was mended");
        }
    }
}

#[test]
fn a_missing_blob_is_a_miss_and_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let a = Machine::new(folder.path());
    let (key, result) = a.publish("k", &[("x", noise(1, 100))]);
    a.push(key, false).unwrap();
    fs::remove_file(object(&folder, "blobs", &result.files[0].digest)).unwrap();
    assert_eq!(a.push(key, false).unwrap(), Pushed::Present, "records are trusted until someone reads");
    let b = Machine::new(folder.path());
    assert!(b.pull_damaged(key).contains("is missing"));
    assert_eq!(a.push(key, true).unwrap(), Pushed::Sent { bytes: 100 });
    assert!(matches!(b.pull(key), Ok(Pulled::Found { .. })));
}

#[test]
fn an_upload_that_never_ended_is_invisible() {
    let folder = tempfile::tempdir().unwrap();
    let a = Machine::new(folder.path());
    let (key, result) = a.publish("k", &[("x", noise(1, 100))]);
    a.push(key, false).unwrap();
    // As if the writer had died before its last step.
    fs::remove_file(object(&folder, "results", &key)).unwrap();
    let blob = object(&folder, "blobs", &result.files[0].digest);
    fs::rename(&blob, blob.with_extension("#1")).unwrap();
    let b = Machine::new(folder.path());
    assert!(matches!(b.pull(key), Ok(Pulled::Absent)));
    a.push(key, false).unwrap();
    assert!(matches!(b.pull(key), Ok(Pulled::Found { .. })));
}

#[test]
fn another_result_for_the_same_key_stays_until_it_is_forced() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Machine::new(folder.path()), Machine::new(folder.path()));
    let (key, ours) = a.publish("k", &[("x", noise(1, 100))]);
    let (_, theirs) = b.publish("k", &[("x", noise(2, 100))]);
    a.push(key, false).unwrap();
    assert_eq!(b.push(key, false).unwrap(), Pushed::Differs);
    let fetched = |machine: Machine| match machine.pull(key) {
        Ok(Pulled::Found { result, .. }) => result,
        other => panic!("{other:?}"),
    };
    assert_eq!(fetched(Machine::new(folder.path())), ours);
    b.push(key, true).unwrap();
    assert_eq!(fetched(Machine::new(folder.path())), theirs);
}

#[test]
fn a_rotten_local_blob_is_not_sent() {
    for size in [100, 20 << 20] {
        let folder = tempfile::tempdir().unwrap();
        let a = Machine::new(folder.path());
        let (key, result) = a.publish("k", &[("x", noise(1, size))]);
        let blob = a.store.blob(&result.files[0].digest);
        let mut bytes = fs::read(&blob).unwrap();
        bytes[50] ^= 1;
        fs::remove_file(&blob).unwrap();
        fs::write(&blob, bytes).unwrap();
        assert!(a.push(key, false).unwrap_err().message.contains("is damaged"));
        assert!(!object(&folder, "blobs", &result.files[0].digest).exists());
        assert!(!object(&folder, "results", &key).exists());
    }
}

#[test]
fn a_dead_remote_is_soon_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let a = Machine::new(folder.path());
    let (key, _) = a.publish("k", &[("x", noise(1, 100))]);
    // Where folders should be there is a file: every request fails.
    fs::write(folder.path().join("v1"), "").unwrap();
    for _ in 0..PATIENCE {
        assert!(a.push(key, false).unwrap_err().help.unwrap().contains("shared filesystem"));
    }
    assert!(a.push(key, false).unwrap_err().message.contains("not tried"));
    assert!(matches!(a.pull(key), Ok(Pulled::GivenUp)));
}

#[test]
fn a_cancelled_transfer_is_answered_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let a = Machine::new(folder.path());
    let (key, _) = a.publish("k", &[("x", noise(1, 100))]);
    let (other, _) = a.publish("l", &[("x", noise(2, 100))]);
    a.push(key, false).unwrap();
    a.remote.cancel();
    assert_eq!(a.push(other, false).unwrap_err().category, crate::base::error::Category::Interrupted);
    assert!(!object(&folder, "results", &other).exists());
}
