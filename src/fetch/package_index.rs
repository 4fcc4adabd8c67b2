//! The Python package index: which archives a package version has, without running anything of it.
//!
//! Speaks the simple repository API (PEP 503 in HTML, PEP 691 in JSON).

use reqwest::Url;
use serde::Deserialize;

use super::{
    package_name::{candidates, normalised},
    url_text::{percent_decoded, shown},
    watch::Watch,
    web::Web,
};
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

/// All archives of a package.
///
/// # Errors
/// Where the index can't be reached or doesn't know the package, or its JSON can't be read.
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn credentials_stay_with_their_host() {
        let index: Url = "https://u:p@index.test/simple".parse().unwrap();
        let (mut own, mut other) = ("https://index.test/f".parse().unwrap(), "https://cdn.test/f".parse().unwrap());
        lend_credentials(&index, &mut own);
        lend_credentials(&index, &mut other);
        assert_eq!((own.as_str(), other.as_str()), ("https://u:p@index.test/f", "https://cdn.test/f"));
    }
}
