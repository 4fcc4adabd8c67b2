//! Credentials in web addresses, and how a text is shown without them.

/// `text` with every credential in a web address overwritten, character for character: places in the text stay what they
/// were. Works on addresses that are no sound ones, too.
pub fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = text[from..].find("://") {
        let start = from + found + 3;
        let rest = &text[start..];
        let end = start + rest.find(|c: char| c.is_whitespace() || "\"'`<>\\".contains(c)).unwrap_or(rest.len());
        for (a, b) in secret_parts(&text[start..end]) {
            bytes[start + a..start + b].fill(b'*');
        }
        from = start;
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Where credentials stand in an address, of which `rest` is what follows `://`.
fn secret_parts(rest: &str) -> Vec<(usize, usize)> {
    let mut parts = Vec::new();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    let odd = !authority.contains('[') && port.contains(|c: char| !c.is_ascii_digit());
    // A password with a slash in it makes no sound address, and is one all the same.
    if let Some(at) = authority.rfind('@').or_else(|| rest.rfind('@').filter(|_| odd)) {
        parts.push((0, at));
    }
    if let Some(start) = rest.find('?') {
        let query = rest[start + 1..].split('#').next().unwrap_or_default();
        let mut at = start + 1;
        for pair in query.split('&') {
            let value = pair.find('=').map_or(0, |equals| equals + 1);
            let name = pair[..value].trim_end_matches('=');
            if is_secret_name(name) || pair.len() - value >= LONG {
                parts.push((at + value, at + pair.len()));
            }
            at += pair.len() + 1;
        }
    }
    parts
}

/// Characters from which on a value may well be a token, whatever its name says.
const LONG: usize = 20;

/// Whether a parameter of a query or a header of that name holds a credential.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '.'], "_");
    let part = ["token", "secret", "passw", "signature", "credential", "apikey", "api_key", "accesskey", "access_key"];
    let whole =
        ["sig", "key", "pwd", "pass", "sas", "auth", "authorization", "session", "sid", "jwt", "cookie", "sign"];
    part.iter().any(|p| name.contains(p))
        || whole.contains(&name.as_str())
        || ["x_amz_", "x_goog_"].iter().any(|p| name.starts_with(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_overwritten_and_nothing_moves() {
        for (text, expected) in [
            ("get http://bob:pa55@h/x?sig=t0ken now", "get http://********@h/x?sig=***** now"),
            ("url = \"https://h/x?a=1&X-Amz-Signature=ab&b=2\"", "url = \"https://h/x?a=1&X-Amz-Signature=**&b=2\""),
            ("http://bob:pa55@[bad", "http://********@[bad"),
            ("http://bob:pa/55@h", "http://*********@h"),
            ("https://tok@h and ftp://a:ü@h", "https://***@h and ftp://****@h"),
            ("https://h/x?t=0123456789012345678901", "https://h/x?t=**********************"),
            ("https://h:80/@user/x?download=1#y", "https://h:80/@user/x?download=1#y"),
            ("hf://org/repo@main/file", "hf://org/repo@main/file"),
            ("s3://bucket/p?endpoint=http://h", "s3://bucket/p?endpoint=http://h"),
        ] {
            assert_eq!(masked(text), expected);
            assert_eq!(masked(text).len(), text.len());
        }
    }
}
