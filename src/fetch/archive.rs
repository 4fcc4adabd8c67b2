//! Takes one member out of an archive, also out of archives inside it.
//!
//! Nothing else is unpacked, and where the bytes go is the caller's choice alone: names and links in the archive decide
//! nothing.

use std::{
    fs::File,
    io::{BufReader, Read, Write},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use super::location::plain_path;
use crate::error::{Error, IoAt, Result};

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
pub(super) enum Outcome {
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
pub(super) fn extract(archive: &Path, shown: &str, wanted: &Wanted, scratch: &Path, to: &Path) -> Result<Outcome> {
    let file = File::open(archive).io_at("open", archive)?;
    let packed = file.metadata().io_at("read", archive)?.len();
    let most = bound(packed);
    let file = BufReader::with_capacity(128 << 10, file);
    let search = Search { shown, wanted, scratch, to, most };
    match Format::of(shown) {
        Some(Format::Zip) => search.zip(file),
        Some(Format::Tar) => search.tar(file),
        Some(Format::TarGz) => search.tar(MultiGzDecoder::new(file)),
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

#[derive(Debug, PartialEq)]
enum Hit<'m> {
    File,
    /// An archive that the member lies in, and the rest of the member's path.
    Inside(&'m str),
}

impl Search<'_> {
    fn tar(&self, reader: impl Read) -> Result<Outcome> {
        let mut similar = Vec::new();
        // Reading on past what a sane archive holds would only burn time.
        let mut archive = tar::Archive::new(Bounded { inner: reader, left: self.most });
        for entry in archive.entries().map_err(|e| self.damaged(&e))? {
            let mut entry = entry.map_err(|e| self.damaged(&e))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some(hit) = self.hit(&name, &mut similar) else { continue };
            let kind = entry.header().entry_type();
            if kind.is_dir() {
                continue;
            }
            if !kind.is_file() {
                return Err(self.not_regular(&name));
            }
            if let Outcome::Found = self.take(&name, hit, &mut entry)? {
                return Ok(Outcome::Found);
            }
        }
        Ok(Outcome::Absent(similar))
    }

    fn zip(&self, reader: BufReader<File>) -> Result<Outcome> {
        let mut similar = Vec::new();
        let mut archive = zip::ZipArchive::new(reader).map_err(|e| self.damaged(&e))?;
        for i in 0..archive.len() {
            let raw = archive.by_index_raw(i).map_err(|e| self.damaged(&e))?;
            let name = raw.name().map_err(|e| self.damaged(&e))?.into_owned();
            let Some(hit) = self.hit(&name, &mut similar) else { continue };
            if raw.is_dir() {
                continue;
            }
            if raw.is_symlink() {
                return Err(self.not_regular(&name));
            }
            drop(raw);
            let mut entry = archive.by_index(i).map_err(|e| self.damaged(&e))?;
            if let Outcome::Found = self.take(&name, hit, &mut entry)? {
                return Ok(Outcome::Found);
            }
        }
        Ok(Outcome::Absent(similar))
    }

    /// Whether the entry is the member or holds it.
    fn hit(&self, entry: &str, similar: &mut Vec<String>) -> Option<Hit<'_>> {
        let entry = entry.strip_prefix("./").unwrap_or(entry);
        if !plain_path(entry) {
            return None;
        }
        let without_top = entry.split_once('/').map(|(_, rest)| rest).filter(|_| self.wanted.top_optional);
        let member = self.wanted.member;
        let hit = [Some(entry), without_top].into_iter().flatten().find_map(|path| {
            let rest = member.strip_prefix(path)?;
            match rest.strip_prefix('/') {
                _ if rest.is_empty() => Some(Hit::File),
                Some(rest) if Format::of(path).is_some() => Some(Hit::Inside(rest)),
                _ => None,
            }
        });
        let last = |path: &str| path.rsplit('/').next().map(str::to_owned);
        if hit.is_none() && last(entry) == last(member) && similar.len() < 5 {
            similar.push(entry.to_owned());
        }
        hit
    }

    fn take(&self, name: &str, hit: Hit, entry: &mut impl Read) -> Result<Outcome> {
        match hit {
            Hit::File => {
                let most = self.wanted.size.map_or(self.most, |size| size.min(self.most));
                let mut out = File::create(self.to).io_at("create", self.to)?;
                self.copy(name, entry, &mut out, self.to, most)?;
                Ok(Outcome::Found)
            }
            Hit::Inside(rest) => {
                let mut inner = tempfile::NamedTempFile::new_in(self.scratch).io_at("write in", self.scratch)?;
                let path = inner.path().to_owned();
                self.copy(name, entry, inner.as_file_mut(), &path, self.most)?;
                let wanted = Wanted { member: rest, top_optional: false, size: self.wanted.size };
                let outcome = extract(&path, &format!("{}/{name}", self.shown), &wanted, self.scratch, self.to)?;
                match outcome {
                    Outcome::Found => Ok(Outcome::Found),
                    Outcome::Absent(similar) => Err(absent(&format!("{}/{name}", self.shown), rest, &similar)),
                }
            }
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
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| std::io::Error::other("it unpacks to far more than archives of its size do"))?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn run(
        name: &str,
        bytes: &[u8],
        member: &str,
        size: Option<u64>,
        top_optional: bool,
    ) -> Result<(Outcome, Vec<u8>)> {
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
            assert_eq!((outcome, bytes_out.as_slice()), (Outcome::Found, &b"hello"[..]), "{name}");
            assert_eq!(run(name, &bytes, "x.txt", None, true).unwrap().1, b"hello");
            let (outcome, _) = run(name, &bytes, "x.txt", None, false).unwrap();
            assert_eq!(outcome, Outcome::Absent(vec!["top/x.txt".into()]));
        }
    }

    #[test]
    fn archives_inside_archives() {
        let inner = gz(&tar(&[("d/f.txt", "deep")]));
        let zipped = zip_bytes(&[("in/inner.tar.gz", &inner)]);
        let outer = gz(&tar_bytes(&[("top/z.zip", &zipped)]));
        let (outcome, bytes) = run("o.tar.gz", &outer, "z.zip/in/inner.tar.gz/d/f.txt", None, true).unwrap();
        assert_eq!((outcome, bytes.as_slice()), (Outcome::Found, &b"deep"[..]));
        let e = run("o.tar.gz", &outer, "z.zip/in/inner.tar.gz/f.txt", None, true).unwrap_err();
        assert!(e.message.contains("o.tar.gz/top/z.zip/in/inner.tar.gz has no member f.txt"), "{e}");
        assert!(e.help.unwrap().contains("d/f.txt"));
    }

    #[test]
    fn names_and_links_that_lead_out_are_never_followed() {
        let escaping = tar_raw(&[("../x.txt", b"evil", None), ("/etc/x.txt", b"evil", None)]);
        for member in ["x.txt", "etc/x.txt"] {
            assert!(matches!(run("a.tar", &escaping, member, None, true).unwrap().0, Outcome::Absent(_)));
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
        let mut bounded = Bounded { inner: std::io::repeat(0), left: 10 };
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
}
