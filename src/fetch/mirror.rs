//! A folder with copies of published files, laid out like the places they come from.

use std::path::{Path, PathBuf};

use reqwest::Url;

use super::{
    location::{HubFile, Location, PackageFile},
    package_name::normalised,
    url_text::{percent_decoded, plain_path},
};
use crate::base::secrets::is_secret_name;

/// The hub's part of a mirror, whatever endpoint is configured.
const HUB: &str = "huggingface.co";

/// Where a mirror folder would have the file, the usual place first. For a package: the folder of its archives.
pub(super) fn places(mirror: &Path, location: &Location) -> Vec<PathBuf> {
    relative(location).into_iter().map(|place| mirror.join(place)).collect()
}

/// The usual place, for messages.
pub(super) fn place_shown(mirror: Option<&Path>, location: &Location) -> Option<String> {
    let place = relative(location).into_iter().next()?;
    let tail = if matches!(location, Location::Package(_)) { "/ (the package's archive)" } else { "" };
    Some(match mirror {
        Some(mirror) => format!("{}{tail}", mirror.join(place).display()),
        None => format!("DIR/{place}{tail}"),
    })
}

fn relative(location: &Location) -> Vec<String> {
    let mut places = match location {
        Location::Web(url) => web(url),
        Location::Hub(h) => vec![hub(h)],
        Location::Package(p) => package(p),
        Location::File(_) => Vec::new(),
    };
    places.retain(|place| plain_path(place));
    places.dedup();
    places
}

fn web(url: &Url) -> Vec<String> {
    let Some(host) = url.host_str() else { return Vec::new() };
    let mut path = url.path().trim_start_matches('/').to_owned();
    // A signature is no part of a file's name: nobody has the same one again.
    if let Some(query) = url.query().filter(|query| !is_signed(query)) {
        path = format!("{path}?{query}");
    }
    let mut hosts = vec![host.to_owned()];
    if let Some(port) = url.port() {
        hosts.insert(0, format!("{host}:{port}"));
    }
    let decoded = percent_decoded(&path);
    hosts.iter().flat_map(|host| [format!("{host}/{path}"), format!("{host}/{decoded}")]).collect()
}

fn is_signed(query: &str) -> bool {
    query.split('&').any(|pair| is_secret_name(pair.split('=').next().unwrap_or_default()))
}

fn hub(h: &HubFile) -> String {
    let kind = if h.dataset { "datasets/" } else { "" };
    format!("{HUB}/{kind}{}/resolve/{}/{}", h.repo, h.revision, h.file)
}

fn package(p: &PackageFile) -> Vec<String> {
    let normal = normalised(&p.name);
    vec![format!("pypi/{normal}/{}", p.version), format!("pypi/{}/{}", p.name, p.version)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(url: &str) -> String {
        relative(&url.parse().unwrap()).remove(0)
    }

    #[test]
    fn layout() {
        assert_eq!(first("https://example.org/a/b.txt"), "example.org/a/b.txt");
        assert_eq!(first("http://localhost:81/a"), "localhost:81/a");
        assert_eq!(first("hf://o/r@v/f/g"), "huggingface.co/o/r/resolve/v/f/g");
        assert_eq!(first("pypi:A_b==1.0#m"), "pypi/a-b/1.0");
        assert!(relative(&"file:/x".parse().unwrap()).is_empty());
        let escaped = relative(&"https://example.org/a%20b".parse().unwrap());
        assert_eq!(escaped, ["example.org/a%20b", "example.org/a b"]);
    }

    #[test]
    fn a_signature_is_no_part_of_a_name() {
        assert_eq!(first("https://example.org/a?id=1"), "example.org/a?id=1");
        assert_eq!(first("https://example.org/a?X-Amz-Date=1&X-Amz-Signature=2"), "example.org/a");
    }

    #[test]
    fn no_escape_leads_out_of_the_mirror() {
        for url in ["https://example.org/%2e%2e%2f%2e%2e%2fetc/passwd", "https://example.org/a/..%2f..%2f..%2fx"] {
            let all = relative(&url.parse().unwrap());
            assert!(all.iter().all(|p| !p.split('/').any(|part| part == "..")), "{all:?}");
        }
        assert_eq!(percent_decoded("%zz%4"), "%zz%4");
    }
}
