//! Archives made in memory: what comes out of each, and what is refused.

use super::*;
use crate::fetch::{bounded_read::Bounded, loopback::*};

fn run(name: &str, bytes: &[u8], member: &str, size: Option<u64>, top_optional: bool) -> Result<(Extraction, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let (archive, to) = (dir.path().join("a"), dir.path().join("to"));
    std::fs::write(&archive, bytes).unwrap();
    let extraction = extract(&archive, name, &Wanted { member, top_optional, size }, dir.path(), &to)?;
    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.retain(|n| n != "a" && n != "to");
    assert!(left.is_empty(), "scratch files are left: {left:?}");
    Ok((extraction, std::fs::read(to).unwrap_or_default()))
}

#[test]
fn members_of_every_format() {
    let files = [("top/x.txt", "hello"), ("top/sub/y", "other")];
    for (name, bytes) in [("a.whl", zip(&files)), ("a.tar", tar(&files)), ("a.tgz", gz(&tar(&files)))] {
        let (extraction, bytes_out) = run(name, &bytes, "top/x.txt", None, false).unwrap();
        assert_eq!((extraction, bytes_out.as_slice()), (Extraction::Found, &b"hello"[..]), "{name}");
        assert_eq!(run(name, &bytes, "x.txt", None, true).unwrap().1, b"hello");
        let (extraction, _) = run(name, &bytes, "x.txt", None, false).unwrap();
        assert_eq!(extraction, Extraction::Absent(vec!["top/x.txt".into()]));
    }
}

#[test]
fn archives_inside_archives() {
    let inner = gz(&tar(&[("d/f.txt", "deep")]));
    let zipped = zip_bytes(&[("in/inner.tar.gz", &inner)]);
    let outer = gz(&tar_bytes(&[("top/z.zip", &zipped)]));
    let (extraction, bytes) = run("o.tar.gz", &outer, "z.zip/in/inner.tar.gz/d/f.txt", None, true).unwrap();
    assert_eq!((extraction, bytes.as_slice()), (Extraction::Found, &b"deep"[..]));
    let e = run("o.tar.gz", &outer, "z.zip/in/inner.tar.gz/f.txt", None, true).unwrap_err();
    assert!(e.message.contains("o.tar.gz/top/z.zip/in/inner.tar.gz has no member f.txt"), "{e}");
    assert!(e.help.unwrap().contains("d/f.txt"));
}

#[test]
fn names_and_links_that_lead_out_are_never_followed() {
    let escaping = tar_raw(&[("../x.txt", b"evil", None), ("/etc/x.txt", b"evil", None)]);
    for member in ["x.txt", "etc/x.txt"] {
        assert!(matches!(run("a.tar", &escaping, member, None, true).unwrap().0, Extraction::Absent(_)));
    }
    let linked = tar_raw(&[("top/x.txt", b"", Some("/etc/passwd"))]);
    let e = run("a.tar", &linked, "top/x.txt", None, false).unwrap_err();
    assert!(e.message.contains("link"), "{e}");
    let linked = zip_link("x.txt", "/etc/passwd");
    assert!(run("a.zip", &linked, "x.txt", None, false).unwrap_err().message.contains("link"));
}

#[test]
fn bombs_are_stopped() {
    let bytes = gz(&tar_bytes(&[("zeros", &vec![0; 1 << 20])]));
    let e = run("a.tar.gz", &bytes, "zeros", Some(1000), false).unwrap_err();
    assert!(e.message.contains("more than 1000 bytes"), "{e}");
    let mut bounded = Bounded { inner: std::io::repeat(0), left: 10, ended: &Cell::new(false) };
    assert!(std::io::copy(&mut bounded, &mut std::io::sink()).is_err());
    assert!(bound(u64::MAX - 1) == u64::MAX || bound(100) < (1 << 30));
}

#[test]
fn damage_is_an_input_error() {
    let good = gz(&tar(&[("a", "b")]));
    for (name, bytes) in [("x.tar.gz", &good[..good.len() / 2]), ("x.zip", &b"nothing"[..]), ("x.tar.gz", b"no")] {
        let e = run(name, bytes, "zzz", None, false).unwrap_err();
        assert!(e.message.contains("damaged"), "{e}");
    }
}

#[test]
fn the_later_of_two_members_is_the_one() {
    let twice = [("x.txt", &b"old"[..], None), ("y", b"", None), ("./x.txt", b"new", None)];
    for (name, bytes) in [("a.tar", tar_raw(&twice)), ("a.tar.gz", gz(&tar_raw(&twice)))] {
        assert_eq!(run(name, &bytes, "x.txt", None, false).unwrap().1, b"new", "{name}");
    }
    let linked = tar_raw(&[("x.txt", b"old", None), ("x.txt", b"", Some("y"))]);
    assert!(run("a.tar", &linked, "x.txt", None, false).unwrap_err().message.contains("link"));
    let shadowed = tar_raw(&[("x.txt", b"exact", None), ("top/x.txt", b"below", None)]);
    assert_eq!(run("a.tar", &shadowed, "x.txt", None, true).unwrap().1, b"exact");
    for bytes in [tar(&[("a/x.txt", "1"), ("b/x.txt", "2")]), tar(&[("a/x.txt", "1"), ("b/x.txt", "1")])] {
        let e = run("a.tar", &bytes, "x.txt", None, true).unwrap_err();
        assert!(e.message.contains("a/x.txt and b/x.txt"), "{e}");
    }
    let e = run("a.zip", &zip(&[("a/x.txt", "1"), ("b/x.txt", "2")]), "x.txt", None, true).unwrap_err();
    assert!(e.message.contains("a/x.txt and b/x.txt"), "{e}");
}

#[test]
fn an_archive_that_is_cut_or_goes_on_is_damaged_wherever_the_member_is() {
    let whole = tar(&[("x.txt", "hello"), ("y", "other")]);
    let damaged = |name: &str, bytes: &[u8]| {
        let e = run(name, bytes, "x.txt", None, false).unwrap_err();
        assert!(e.message.contains("damaged"), "{e}");
    };
    for end in [512, 600, 1024, 1536, 2040, 2048] {
        damaged("a.tar", &whole[..end]);
    }
    damaged("a.tar", &[&whole[..], b"x"].concat());
    damaged("a.tar", &[whole.clone(), whole.clone()].concat());
    assert_eq!(run("a.tar", &[&whole[..], &[0; 9000]].concat(), "x.txt", None, false).unwrap().1, b"hello");
    let packed = gz(&whole);
    for end in 1..packed.len() {
        damaged("a.tgz", &packed[..end]);
    }
    damaged("a.tgz", &[&packed[..], b"garbage"].concat());
    assert_eq!(run("a.tgz", &[&packed[..], &[0; 700]].concat(), "x.txt", None, false).unwrap().1, b"hello");
    let halves = [gz(&whole[..700]), gz(&whole[700..])].concat();
    assert_eq!(run("a.tgz", &halves, "x.txt", None, false).unwrap().1, b"hello");
    let zipped = zip(&[("x.txt", "hello")]);
    for end in 1..zipped.len() {
        assert!(run("a.zip", &zipped[..end], "x.txt", None, false).is_err(), "{end}");
    }
}

#[test]
fn files_with_holes_are_refused_in_both_forms() {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.name", b"x.txt")]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("GNUSparseFile.0/x.txt").unwrap();
    header.set_size(3);
    header.set_cksum();
    builder.append(&header, &b"map"[..]).unwrap();
    let e = run("a.tar", &builder.into_inner().unwrap(), "x.txt", None, true).unwrap_err();
    assert!(e.message.contains("holes"), "{e}");
}
