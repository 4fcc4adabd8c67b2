//! Takes one member out of an archive, also out of archives inside it.
//!
//! Nothing else is unpacked, and where the bytes go is the caller's choice alone: names and links in the archive decide
//! nothing.

use std::{
    cell::Cell,
    fs::{self, File},
    io::{BufReader, Read, Write},
    path::Path,
};

use super::{gunzip::Gunzip, location::plain_path};
use crate::base::error::{Error, IoAt, Result};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Format {
    Zip,
    Tar,
    TarGz,
}

impl Format {
    /// By the file name.
    pub fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        if ends(&[".whl", ".zip"]) {
            Some(Self::Zip)
        } else if ends(&[".tar.gz", ".tgz"]) {
            Some(Self::TarGz)
        } else if ends(&[".tar"]) {
            Some(Self::Tar)
        } else {
            None
        }
    }
}

/// Which member, and how large it may get.
pub(super) struct Wanted<'a> {
    /// Slash-separated path; goes on inside archives.
    pub member: &'a str,
    /// The archive's own top folder may be left out of `member`.
    pub top_optional: bool,
    /// Bytes that the member has where that is known. Bounds what is written, but isn't checked here.
    pub size: Option<u64>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Extraction {
    Found,
    /// With the paths of files that have the same name elsewhere.
    Absent(Vec<String>),
}

/// At most this many bytes come out of an archive of `packed` bytes: far more than text and weights need, far less than
/// archives that are made to fill disks give.
fn bound(packed: u64) -> u64 {
    (256 << 20) + packed.saturating_mul(200)
}

/// Writes the member of `archive` to `to`. `shown` names the archive, in messages and by its ending.
pub(super) fn extract(archive: &Path, shown: &str, wanted: &Wanted, scratch: &Path, to: &Path) -> Result<Extraction> {
    let file = File::open(archive).io_at("open", archive)?;
    let packed = file.metadata().io_at("read", archive)?.len();
    let most = bound(packed);
    let file = BufReader::with_capacity(128 << 10, file);
    let search = Search { shown, wanted, scratch, to, most };
    match Format::of(shown) {
        Some(Format::Zip) => search.zip(file),
        Some(Format::Tar) => search.tar(file),
        Some(Format::TarGz) => search.tar(Gunzip::new(file)),
        None => Err(Error::input(format!("{shown} is no archive of a known kind"))
            .help("known kinds: .whl, .zip, .tar, .tar.gz, .tgz")),
    }
}

struct Search<'a> {
    shown: &'a str,
    wanted: &'a Wanted<'a>,
    scratch: &'a Path,
    to: &'a Path,
    /// Bytes.
    most: u64,
}

/// An entry that is the member, or an archive that it lies in.
#[derive(Debug, PartialEq)]
struct Hit<'m> {
    /// The rest of the member's path; empty where the entry is the member.
    rest: &'m str,
    /// Whether the entry's top folder was left out.
    below_top: bool,
}

/// What a search has come to.
#[derive(Default)]
struct Found {
    /// Path of the last entry that was taken, and whether it is as it was asked for.
    taken: Option<(String, bool)>,
    outcome: Option<Result<Extraction>>,
    similar: Vec<String>,
}

fn plain(entry: &str) -> &str {
    entry.strip_prefix("./").unwrap_or(entry)
}

/// Whether the entry's extended header says that the content begins with a map of its holes.
fn is_sparse(entry: &mut tar::Entry<impl Read>) -> Result<bool> {
    let Ok(Some(extensions)) = entry.pax_extensions() else { return Ok(false) };
    Ok(extensions.flatten().any(|extension| extension.key_bytes().starts_with(b"GNU.sparse")))
}

impl Search<'_> {
    /// Reads to the end: a later member replaces an earlier one of the same name, and a cut archive has no end.
    fn tar(&self, reader: impl Read) -> Result<Extraction> {
        let mut found = Found::default();
        let ended = Cell::new(false);
        // Reading on past what a sane archive holds would only burn time.
        let mut archive = tar::Archive::new(Bounded { inner: reader, left: self.most, ended: &ended });
        for entry in archive.entries().map_err(|e| self.damaged(&e))? {
            let mut entry = entry.map_err(|e| self.damaged(&e))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            let Some(hit) = self.hit(&name, &mut found.similar).filter(|_| !kind.is_dir()) else { continue };
            if !self.replaces(&mut found, &name, &hit)? {
                continue;
            }
            found.outcome = Some(if kind.is_gnu_sparse() || is_sparse(&mut entry)? {
                Err(Error::input(format!("{name} in {} is stored with holes, which isn't read", self.shown))
                    .help("unpack the archive by hand, and name the file"))
            } else if !kind.is_file() {
                Err(self.not_regular(&name))
            } else {
                self.take(&name, hit, &mut entry)
            });
        }
        if ended.get() {
            return Err(self.damaged(&std::io::Error::other("it ends without the mark that ends an archive")));
        }
        self.nothing_follows(archive.into_inner())?;
        self.outcome(found)
    }

    /// After its end, an archive is padded with zeros.
    fn nothing_follows(&self, mut rest: impl Read) -> Result<()> {
        let mut block = vec![0; 64 << 10];
        loop {
            match rest.read(&mut block).map_err(|e| self.damaged(&e))? {
                0 => return Ok(()),
                n if block[..n].iter().all(|b| *b == 0) => {}
                _ => return Err(self.damaged(&std::io::Error::other("something follows its end"))),
            }
        }
    }

    fn zip(&self, reader: BufReader<File>) -> Result<Extraction> {
        let mut found = Found::default();
        let mut archive = zip::ZipArchive::new(reader).map_err(|e| self.damaged(&e))?;
        for i in 0..archive.len() {
            let raw = archive.by_index_raw(i).map_err(|e| self.damaged(&e))?;
            let name = raw.name().map_err(|e| self.damaged(&e))?.into_owned();
            let Some(hit) = self.hit(&name, &mut found.similar).filter(|_| !raw.is_dir()) else { continue };
            if !self.replaces(&mut found, &name, &hit)? {
                continue;
            }
            let linked = raw.is_symlink();
            drop(raw);
            found.outcome = Some(if linked {
                Err(self.not_regular(&name))
            } else {
                let mut entry = archive.by_index(i).map_err(|e| self.damaged(&e))?;
                self.take(&name, hit, &mut entry)
            });
        }
        self.outcome(found)
    }

    /// Whether a hit takes the place of an earlier one. A path as it was asked for goes before one below a top folder.
    fn replaces(&self, found: &mut Found, name: &str, hit: &Hit) -> Result<bool> {
        let name = plain(name);
        let exact = !hit.below_top;
        match &found.taken {
            Some((_, before)) if *before && !exact => return Ok(false),
            Some((earlier, before)) if *before == exact && earlier != name => {
                return Err(Error::input(format!(
                    "{} has several files that {} may mean: {earlier} and {name}",
                    self.shown, self.wanted.member
                ))
                .help("name one of them with its whole path"));
            }
            _ => {}
        }
        found.taken = Some((name.to_owned(), exact));
        Ok(true)
    }

    fn outcome(&self, found: Found) -> Result<Extraction> {
        match found.outcome {
            None => Ok(Extraction::Absent(found.similar)),
            Some(Ok(outcome)) => Ok(outcome),
            Some(Err(e)) => {
                // What an earlier member left.
                let _ = fs::remove_file(self.to);
                Err(e)
            }
        }
    }

    /// Whether the entry is the member or holds it.
    fn hit(&self, entry: &str, similar: &mut Vec<String>) -> Option<Hit<'_>> {
        let entry = plain(entry);
        if !plain_path(entry) {
            return None;
        }
        let without_top = entry.split_once('/').map(|(_, rest)| rest).filter(|_| self.wanted.top_optional);
        let member = self.wanted.member;
        let paths = [Some((entry, false)), without_top.map(|path| (path, true))];
        let hit = paths.into_iter().flatten().find_map(|(path, below_top)| {
            let rest = member.strip_prefix(path)?;
            match rest.strip_prefix('/') {
                _ if rest.is_empty() => Some(Hit { rest, below_top }),
                Some(rest) if Format::of(path).is_some() => Some(Hit { rest, below_top }),
                _ => None,
            }
        });
        let last = |path: &str| path.rsplit('/').next().map(str::to_owned);
        if hit.is_none() && last(entry) == last(member) && similar.len() < 5 {
            similar.push(entry.to_owned());
        }
        hit
    }

    fn take(&self, name: &str, hit: Hit, entry: &mut impl Read) -> Result<Extraction> {
        if hit.rest.is_empty() {
            let most = self.wanted.size.map_or(self.most, |size| size.min(self.most));
            let mut out = File::create(self.to).io_at("create", self.to)?;
            self.copy(name, entry, &mut out, self.to, most)?;
            return Ok(Extraction::Found);
        }
        let mut inner = tempfile::NamedTempFile::new_in(self.scratch).io_at("write in", self.scratch)?;
        let path = inner.path().to_owned();
        self.copy(name, entry, inner.as_file_mut(), &path, self.most)?;
        let wanted = Wanted { member: hit.rest, top_optional: false, size: self.wanted.size };
        match extract(&path, &format!("{}/{name}", self.shown), &wanted, self.scratch, self.to)? {
            Extraction::Found => Ok(Extraction::Found),
            Extraction::Absent(similar) => Err(absent(&format!("{}/{name}", self.shown), hit.rest, &similar)),
        }
    }

    fn copy(&self, name: &str, from: &mut impl Read, to: &mut File, path: &Path, most: u64) -> Result<()> {
        let mut block = vec![0; 128 << 10];
        let mut written = 0;
        loop {
            let n = from.read(&mut block).map_err(|e| self.damaged(&e))?;
            if n == 0 {
                return Ok(());
            }
            written += n as u64;
            if written > most {
                return Err(Error::input(format!("{name} in {} gives more than {most} bytes", self.shown))
                    .help("it is not the file that was meant, its `size` is wrong, or it is made to fill the disk"));
            }
            to.write_all(&block[..n]).io_at("write", path)?;
        }
    }

    fn not_regular(&self, name: &str) -> Error {
        Error::input(format!("{name} in {} is a link or a special file, which are not followed", self.shown))
            .help("name the file that it points to")
    }

    fn damaged(&self, e: &dyn std::error::Error) -> Error {
        Error::input(format!("{} is damaged or not what its name says: {}", self.shown, super::web::root_cause(e)))
    }
}

/// The error for a member that isn't there.
pub(super) fn absent(archive: &str, member: &str, similar: &[String]) -> Error {
    let error = Error::input(format!("{archive} has no member {member}"));
    if similar.is_empty() { error } else { error.help(format!("it has: {}", similar.join(", "))) }
}

/// Fails, rather than ends, after `left` bytes.
struct Bounded<'a, R> {
    inner: R,
    left: u64,
    /// Set when nothing was left to read.
    ended: &'a Cell<bool>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.ended.set(self.ended.get() || (n == 0 && !buf.is_empty()));
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| std::io::Error::other("it unpacks to far more than archives of its size do"))?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::loopback::*;

    fn run(
        name: &str,
        bytes: &[u8],
        member: &str,
        size: Option<u64>,
        top_optional: bool,
    ) -> Result<(Extraction, Vec<u8>)> {
        let dir = tempfile::tempdir().unwrap();
        let (archive, to) = (dir.path().join("a"), dir.path().join("to"));
        std::fs::write(&archive, bytes).unwrap();
        let outcome = extract(&archive, name, &Wanted { member, top_optional, size }, dir.path(), &to)?;
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.retain(|n| n != "a" && n != "to");
        assert!(left.is_empty(), "scratch files are left: {left:?}");
        Ok((outcome, std::fs::read(to).unwrap_or_default()))
    }

    #[test]
    fn members_of_every_format() {
        let files = [("top/x.txt", "hello"), ("top/sub/y", "other")];
        for (name, bytes) in [("a.whl", zip(&files)), ("a.tar", tar(&files)), ("a.tgz", gz(&tar(&files)))] {
            let (outcome, bytes_out) = run(name, &bytes, "top/x.txt", None, false).unwrap();
            assert_eq!((outcome, bytes_out.as_slice()), (Extraction::Found, &b"hello"[..]), "{name}");
            assert_eq!(run(name, &bytes, "x.txt", None, true).unwrap().1, b"hello");
            let (outcome, _) = run(name, &bytes, "x.txt", None, false).unwrap();
            assert_eq!(outcome, Extraction::Absent(vec!["top/x.txt".into()]));
        }
    }

    #[test]
    fn archives_inside_archives() {
        let inner = gz(&tar(&[("d/f.txt", "deep")]));
        let zipped = zip_bytes(&[("in/inner.tar.gz", &inner)]);
        let outer = gz(&tar_bytes(&[("top/z.zip", &zipped)]));
        let (outcome, bytes) = run("o.tar.gz", &outer, "z.zip/in/inner.tar.gz/d/f.txt", None, true).unwrap();
        assert_eq!((outcome, bytes.as_slice()), (Extraction::Found, &b"deep"[..]));
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
}
