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

use super::{archive_format::Format, bounded_read::Bounded, gunzip::Gunzip, url_text::plain_path};
use crate::base::{
    error::{Error, IoAt, Result},
    http::root_cause,
};

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
///
/// # Errors
/// An archive of no known kind, a damaged one, or one that gives far more bytes than it takes; a member that is
/// no regular file or can't be written.
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
    result: Option<Result<Extraction>>,
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
            found.result = Some(if kind.is_gnu_sparse() || is_sparse(&mut entry)? {
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
        self.conclude(found)
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
            found.result = Some(if linked {
                Err(self.not_regular(&name))
            } else {
                let mut entry = archive.by_index(i).map_err(|e| self.damaged(&e))?;
                self.take(&name, hit, &mut entry)
            });
        }
        self.conclude(found)
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

    fn conclude(&self, found: Found) -> Result<Extraction> {
        match found.result {
            None => Ok(Extraction::Absent(found.similar)),
            Some(Ok(extraction)) => Ok(extraction),
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
        Error::input(format!("{} is damaged or not what its name says: {}", self.shown, root_cause(e)))
    }
}

/// The error for a member that isn't there.
pub(super) fn absent(archive: &str, member: &str, similar: &[String]) -> Error {
    let error = Error::input(format!("{archive} has no member {member}"));
    if similar.is_empty() { error } else { error.help(format!("it has: {}", similar.join(", "))) }
}

#[cfg(test)]
mod tests;
