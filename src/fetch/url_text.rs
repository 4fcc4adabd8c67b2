//! URLs as text: what of one may be shown and what is secret, escapes, and paths that stay inside of a folder.

use reqwest::Url;

use crate::base::secrets::is_secret_name;

/// Whether a slash-separated relative path has no empty, `.` or `..` parts: joined to a folder, it can't leave it.
pub(super) fn plain_path(path: &str) -> bool {
    !path.contains(['\\', '\0']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The URL as it may be shown and kept: without user and password, and without the values of its query, any of which may
/// be a token.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that can't have credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let Some(query) = url.query().map(str::to_owned) else { return url.into() };
    url.set_query(None);
    let names = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}=..."),
        None => "...".to_owned(),
    });
    format!("{url}?{}", names.collect::<Vec<_>>().join("&"))
}

/// What in a URL may be a credential, as it stands there and decoded: password (or the user where there is none), and values
/// of the query.
pub(super) fn credentials(url: &Url) -> Vec<String> {
    let user = url.password().or(Some(url.username()).filter(|user| !user.is_empty()));
    let values = url.query().unwrap_or_default().split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        (is_secret_name(name) || value.len() >= LONG).then_some(value)
    });
    let written = user.into_iter().chain(values).filter(|value| value.len() >= SHORTEST);
    written.flat_map(|value| [value.to_owned(), percent_decoded(value)]).collect()
}

/// Shorter values would tear ordinary words apart, and protect nothing.
const SHORTEST: usize = 4;

/// From so many characters on a value may be a token whatever its name.
const LONG: usize = 12;

/// Undoes `%20` and the like; leaves alone what isn't an escape or isn't UTF-8 afterwards.
pub(super) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escape = bytes.get(i + 1..i + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[i], escape.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}
