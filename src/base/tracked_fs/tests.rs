//! Every change of an answer is noticed, and nothing else is.

use std::time::Duration;

use super::*;

/// A change, and what it takes back.
type Change = (&'static str, fn(&Path), fn(&Path));

#[test]
fn every_change_of_an_answer_is_noticed_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["a.toml", "b.toml", "data", "other"] {
        fs::write(at(name), name).unwrap();
    }
    std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
    let observed = {
        let asked = TrackedFs::default();
        assert_eq!(asked.read_to_string(&at("a.toml")).unwrap(), "a.toml");
        assert!(asked.read_to_string(&at("absent")).is_err());
        assert_eq!(asked.digest(&at("data")).unwrap(), Digest::of(b"data"));
        assert_eq!(asked.digest_if_file(&at("by-hand")).unwrap(), None);
        assert_eq!(asked.real(&at("link")), at("data").canonicalize().ok());
        let pattern = at("*.toml");
        assert_eq!(asked.matching(&pattern.to_string_lossy()).unwrap().0, [at("a.toml"), at("b.toml")]);
        asked.observed().unwrap()
    };
    assert!(observed.still_holds());
    let json = serde_json::to_string(&observed).unwrap();
    assert_eq!(serde_json::from_str::<Observations>(&json).unwrap(), observed);
    let write = |name: &'static str, text: &'static str| move |dir: &Path| fs::write(dir.join(name), text).unwrap();
    write("other", "of no account")(dir.path());
    write("b.toml", "nobody read it")(dir.path());
    assert!(observed.still_holds());
    let changes: [Change; 6] = [
        (
            "text",
            |d| fs::write(d.join("a.toml"), "A.toml").unwrap(),
            |d| fs::write(d.join("a.toml"), "a.toml").unwrap(),
        ),
        ("new", |d| fs::write(d.join("absent"), "").unwrap(), |d| fs::remove_file(d.join("absent")).unwrap()),
        ("folder", |d| fs::create_dir(d.join("absent")).unwrap(), |d| fs::remove_dir(d.join("absent")).unwrap()),
        ("gone", |d| fs::remove_file(d.join("data")).unwrap(), |d| fs::write(d.join("data"), "data").unwrap()),
        ("matches", |d| fs::write(d.join("c.toml"), "").unwrap(), |d| fs::remove_file(d.join("c.toml")).unwrap()),
        ("link", |d| point(d, "other"), |d| point(d, "data")),
    ];
    for (name, change, back) in changes {
        change(dir.path());
        assert!(!observed.still_holds(), "{name}");
        back(dir.path());
        assert!(observed.still_holds(), "{name}");
    }
}

#[test]
fn a_large_file_is_hashed_once_as_long_as_it_is_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (file, memory) = (dir.path().join("x"), dir.path().join("memory"));
    let count = std::cell::Cell::new(0);
    let hash = || {
        let asked = TrackedFs::default();
        asked.recall(memory.clone());
        let hash = asked.hash_if_file(&file, "blake3", |path| {
            count.set(count.get() + 1);
            Ok(Digest::of_file(path)?.to_string())
        });
        asked.remember();
        (hash.unwrap(), asked.observed().unwrap())
    };
    assert_eq!(hash().0, None);
    fs::write(&file, "small").unwrap();
    for times in 1..3 {
        assert_eq!(hash().0, Some(Digest::of(b"small").to_string()));
        assert_eq!(count.get(), times, "small files are always read");
    }
    let large = vec![7; LARGE as usize];
    fs::write(&file, &large).unwrap();
    let (first, observed) = hash();
    assert_eq!(first, Some(Digest::of(&large).to_string()));
    assert!(!observed.still_holds(), "it changed a moment ago");
    // As if some time had gone by.
    while !Mark::of(&file).unwrap().is_settled() {
        std::thread::sleep(Duration::from_millis(100));
    }
    let before = count.get();
    let observed = [hash(), hash()].map(|(hash, observed)| {
        assert_eq!(hash, first);
        observed
    });
    assert_eq!(count.get(), before + 1);
    assert!(observed[0].still_holds() && observed[0] == observed[1]);
    let mut changed = large;
    changed[9] = 8;
    let times = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, &changed).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(times).unwrap();
    assert!(!observed[0].still_holds(), "whoever sets a time back changes another");
    assert_eq!(hash().0, Some(Digest::of(&changed).to_string()));
}

fn point(dir: &Path, to: &str) {
    fs::remove_file(dir.join("link")).unwrap();
    std::os::unix::fs::symlink(dir.join(to), dir.join("link")).unwrap();
}

#[test]
fn a_variable_is_an_answer_like_any_other() {
    let asked = TrackedFs::default();
    assert!(asked.variable("PATH").is_some() && asked.variable("EMOPIPE_NOT_SET").is_none());
    let mut observed = asked.observed().unwrap();
    assert!(observed.still_holds());
    observed.variables.insert("PATH".to_owned(), Some(Digest::of(b"elsewhere")));
    assert!(!observed.still_holds());
}

#[test]
fn a_file_that_changes_while_it_is_asked_for_is_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x");
    let asked = TrackedFs::default();
    for text in ["1", "2"] {
        fs::write(&file, text).unwrap();
        asked.read_to_string(&file).unwrap();
    }
    assert_eq!(asked.observed(), None);
}

#[test]
fn presence_is_an_answer_whatever_is_inside() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x");
    let asked = TrackedFs::default();
    assert!(!asked.is_file(&file) && !asked.is_set("EMOPIPE_NOT_SET") && asked.is_set("PATH"));
    let absent = asked.observed().unwrap();
    assert!(absent.still_holds());
    fs::write(&file, "1").unwrap();
    assert!(!absent.still_holds());
    let asked = TrackedFs::default();
    assert!(asked.is_file(&file));
    let mut present = asked.observed().unwrap();
    fs::write(&file, "2").unwrap();
    assert!(present.still_holds());
    present.set.insert("PATH".to_owned(), false);
    assert!(!present.still_holds());
}
