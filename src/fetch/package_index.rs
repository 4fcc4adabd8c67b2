//! The Python package index: which archives a package version has, without running anything of it.
//!
//! Speaks the simple repository API (PEP 503 in HTML, PEP 691 in JSON). Which index it is, is pip's configuration.

use std::{path::Path, process::Command};

use reqwest::Url;
use serde::Deserialize;

use super::{location::shown, mirror::percent_decoded, watch::Watch, web::Web};
use crate::base::error::{Error, Result};

const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01";

/// One archive of a package.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct IndexFile {
    pub name: String,
    pub url: Url,
    pub sha256: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
}

/// A package's name in the form that indexes use (PEP 503).
pub(super) fn normalised(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            c => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

/// The archives that may hold `member`, the likeliest first: a wheel that fits every machine, then the source archive.
/// A member that begins with the source archive's top folder is looked for there first.
pub(super) fn candidates<'a, T>(
    files: &'a [T],
    file_name: impl Fn(&T) -> &str,
    (name, version): (&str, &str),
    member: &str,
) -> Vec<&'a T> {
    let mut ranked: Vec<_> = files
        .iter()
        .filter_map(|file| {
            let archive = Archive::parse(file_name(file))?;
            (archive.name == normalised(name) && same_version(&archive.version, version)).then_some((archive, file))
        })
        .collect();
    let top = member.split_once('/').and_then(|(top, _)| top.rsplit_once('-'));
    let names_source = top.is_some_and(|(n, v)| normalised(n) == normalised(name) && same_version(v, version));
    ranked.sort_by_key(|(archive, file)| {
        let source_last = (archive.rank == Rank::Source) != names_source;
        (source_last, archive.rank, file_name(file).to_owned())
    });
    // Wheels for single platforms differ in compiled code, not in data: one of them is enough.
    let mut wheel_seen = false;
    ranked.retain(|(archive, _)| archive.rank == Rank::Source || !std::mem::replace(&mut wheel_seen, true));
    ranked.into_iter().map(|(_, file)| file).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// `py3-none-any`
    Universal,
    /// `py2-none-any`
    AnyPlatform,
    Platform,
    Source,
}

struct Archive {
    name: String,
    version: String,
    rank: Rank,
}

impl Archive {
    /// `NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl` or `NAME-VERSION.tar.gz`.
    fn parse(file: &str) -> Option<Self> {
        if let Some(stem) = file.strip_suffix(".whl") {
            let parts: Vec<_> = stem.split('-').collect();
            let [name, version, .., python, abi, platform] = parts.as_slice() else { return None };
            let rank = match (*abi, *platform) {
                ("none", "any") if python.split('.').any(|tag| tag == "py3") => Rank::Universal,
                ("none", "any") => Rank::AnyPlatform,
                _ => Rank::Platform,
            };
            return Some(Self { name: normalised(name), version: (*version).to_owned(), rank });
        }
        let stem = [".tar.gz", ".tgz", ".zip", ".tar"].iter().find_map(|end| file.strip_suffix(end))?;
        let (name, version) = stem.rsplit_once('-')?;
        Some(Self { name: normalised(name), version: version.to_owned(), rank: Rank::Source })
    }
}

/// Versions that differ only in case, in `_` for `-`, or in zeros at the end are the same.
fn same_version(a: &str, b: &str) -> bool {
    let normal = |v: &str| {
        let v = v.to_ascii_lowercase().replace('_', "-");
        let mut v = v.as_str();
        if v.chars().all(|c| c.is_ascii_digit() || c == '.') {
            while let Some(shorter) = v.strip_suffix(".0") {
                v = shorter;
            }
        }
        v.to_owned()
    };
    normal(a) == normal(b)
}

/// All archives of a package.
pub(super) fn listing(web: &Web, index: &Url, name: &str, watch: &dyn Watch) -> Result<Vec<IndexFile>> {
    let mut url = index.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(&normalised(name)).push("");
    }
    let text = web.text(&url, ACCEPT, watch)?;
    let mut files = if text.content_type.contains("json") {
        from_json(&text.body, &text.url)
            .map_err(|e| Error::input(format!("{} answers with JSON that can't be read: {e}", shown(&text.url))))?
    } else {
        from_html(&text.body, &text.url)
    };
    for file in &mut files {
        lend_credentials(index, &mut file.url);
    }
    Ok(files)
}

/// How many archives a page of an index lists; for tests of what is read from afar.
///
/// # Errors
/// JSON that can't be read.
#[doc(hidden)]
pub fn listed(body: &str, json: bool) -> Result<usize> {
    let base = Url::parse("https://index.test/simple/p/").map_err(Error::internal)?;
    let files = if json { from_json(body, &base)? } else { from_html(body, &base) };
    let chosen = candidates(&files, |file| &file.name, ("p", "1.0"), "m");
    Ok(chosen.len())
}

/// Files on the index's own host need the credentials that the index needs.
fn lend_credentials(index: &Url, url: &mut Url) {
    if index.origin() == url.origin() && url.username().is_empty() && url.password().is_none() {
        // Fails only for URLs without a host.
        let _ = url.set_username(index.username());
        let _ = url.set_password(index.password());
    }
}

fn from_json(body: &str, base: &Url) -> Result<Vec<IndexFile>> {
    #[derive(Deserialize)]
    struct Page {
        files: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: std::collections::BTreeMap<String, String>,
        size: Option<u64>,
    }
    let page: Page = serde_json::from_str(body)?;
    let files = page.files.into_iter().filter_map(|entry| {
        let sha256 = entry.hashes.get("sha256").map(|hash| hash.to_ascii_lowercase());
        Some(IndexFile { name: entry.filename, url: base.join(&entry.url).ok()?, sha256, size: entry.size })
    });
    Ok(files.collect())
}

/// The anchors of a simple index page.
fn from_html(body: &str, base: &Url) -> Vec<IndexFile> {
    let mut files = Vec::new();
    let mut rest = body;
    while let Some(start) = rest.find("<a").or_else(|| rest.find("<A")) {
        rest = &rest[start + 2..];
        let Some(end) = rest.find('>') else { break };
        let Some(href) = attribute(&rest[..end], "href") else { continue };
        let Ok(mut url) = base.join(&unescaped(href)) else { continue };
        let sha256 = url.fragment().and_then(|f| f.strip_prefix("sha256=")).map(str::to_ascii_lowercase);
        url.set_fragment(None);
        let name = percent_decoded(url.path().rsplit('/').next().unwrap_or_default());
        files.push(IndexFile { name, url, sha256, size: None });
    }
    files
}

/// The value of a quoted attribute.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let start = tag.to_ascii_lowercase().find(&format!("{name}="))? + name.len() + 1;
    let quote = tag[start..].chars().next().filter(|c| matches!(c, '"' | '\''))?;
    tag[start + 1..].split(quote).next()
}

fn unescaped(text: &str) -> String {
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

/// The index that this machine's pip uses: `PIP_INDEX_URL`, pip's configuration, or pip's own default.
pub(super) fn configured(empty_folder: &Path) -> Result<Url> {
    if let Ok(url) = std::env::var("PIP_INDEX_URL")
        && !url.trim().is_empty()
    {
        return parse_index(&url);
    }
    let get = ["config", "get", "global.index-url"];
    let default = ["-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"];
    let module = ["-m", "pip"];
    let ways: [(&str, Vec<&str>); 6] = [
        ("python3", [&module[..], &get].concat()),
        ("pip3", get.to_vec()),
        ("pip", get.to_vec()),
        ("python3", default.to_vec()),
        ("python", [&module[..], &get].concat()),
        ("python", default.to_vec()),
    ];
    for (program, arguments) in ways {
        // In a folder of ours, since Python would run modules from the current one.
        let output = Command::new(program).args(arguments).current_dir(empty_folder).output();
        if let Ok(output) = output
            && output.status.success()
            && let Some(line) = String::from_utf8_lossy(&output.stdout).lines().map(str::trim).find(|l| !l.is_empty())
        {
            return parse_index(line);
        }
    }
    Err(Error::environment("no Python package index is known: neither PIP_INDEX_URL nor pip names one")
        .help("install pip, or set PIP_INDEX_URL to the address of an index that has the simple API"))
}

pub(super) fn parse_index(text: &str) -> Result<Url> {
    let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| {
        Error::input("the package index that pip is configured for has no web address")
            .help("set PIP_INDEX_URL to the address of an index that has the simple API")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        assert_eq!(normalised("Vader_Sentiment.-x"), "vader-sentiment-x");
    }

    #[test]
    fn both_forms_of_the_page_say_the_same() {
        let base: Url = "https://index.test/simple/p/".parse().unwrap();
        let json = r#"{"files": [{"filename": "p-1.0.tar.gz", "url": "../../f/p-1.0.tar.gz",
            "hashes": {"sha256": "AB"}, "size": 7, "yanked": false}]}"#;
        let html = r#"<!DOCTYPE html><a data-x="1"
            href="../../f/p-1.0.tar.gz?a=1&amp;b=2#sha256=AB">p-1.0.tar.gz</a><a>no</a>"#;
        let json = from_json(json, &base).unwrap();
        let html = from_html(html, &base);
        assert_eq!(json[0].url.as_str(), "https://index.test/f/p-1.0.tar.gz");
        assert_eq!(html[0].url.as_str(), "https://index.test/f/p-1.0.tar.gz?a=1&b=2");
        for files in [&json, &html] {
            assert_eq!((files.len(), files[0].name.as_str()), (1, "p-1.0.tar.gz"));
            assert_eq!(files[0].sha256.as_deref(), Some("ab"));
        }
    }

    #[test]
    fn the_likeliest_archive_comes_first() {
        let files = [
            "my_pkg-1.0.tar.gz",
            "my_pkg-1.0-cp312-cp312-linux_x86_64.whl",
            "my_pkg-1.0-py2-none-any.whl",
            "my_pkg-1.0.0-py2.py3-none-any.whl",
            "my_pkg-1.0.1-py3-none-any.whl",
            "my_pkg_extra-1.0.tar.gz",
            "my_pkg-1.0.exe",
        ];
        let order = |member: &str| candidates(&files, |f| f, ("My.Pkg", "1.0"), member);
        assert_eq!(order("a/b"), [&files[3], &files[0]]);
        assert_eq!(order("my_pkg-1.0/a/b"), [&files[0], &files[3]]);
        assert_eq!(candidates(&files[..2], |f| f, ("my-pkg", "1.0"), "a"), [&files[1], &files[0]]);
    }

    #[test]
    fn credentials_stay_with_their_host() {
        let index: Url = "https://u:p@index.test/simple".parse().unwrap();
        let (mut own, mut other) = ("https://index.test/f".parse().unwrap(), "https://cdn.test/f".parse().unwrap());
        lend_credentials(&index, &mut own);
        lend_credentials(&index, &mut other);
        assert_eq!((own.as_str(), other.as_str()), ("https://u:p@index.test/f", "https://cdn.test/f"));
    }
}
