//! Strings, cut at their `${...}`.

#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// What stands between `${` and `}`.
    Name(&'a str),
}

/// Cuts a string at its `${...}`; an error is the rest from a `${` that is never closed.
///
/// # Errors
/// The rest of the string from a `${` that is never closed.
pub(super) fn pieces(mut text: &str) -> Result<Vec<Piece<'_>>, &str> {
    let mut pieces = Vec::new();
    while let Some(start) = text.find("${") {
        if text[..start].ends_with('$') {
            pieces.push(Piece::Text(&text[..start]));
            pieces.push(Piece::Text("{"));
            text = &text[start + 2..];
            continue;
        }
        let Some(end) = text[start..].find('}') else { return Err(&text[start..]) };
        if start > 0 {
            pieces.push(Piece::Text(&text[..start]));
        }
        pieces.push(Piece::Name(&text[start + 2..start + end]));
        text = &text[start + end + 1..];
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}
