//! The paths that a source names: in `use`, in code, in types and inside macros alike, since all of them are tokens.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One path, such as `crate::base::error::Error`.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub segments: Vec<String>,
    /// The name that a `use` gives it.
    pub alias: Option<String>,
    pub line: usize,
    /// Names of the modules inside the file in which it stands.
    pub inside: Vec<String>,
    /// Whether it stands in a `use`.
    pub imported: bool,
    /// Whether a `use` hands it on (`pub use`).
    pub exported: bool,
    /// Whether only tests are compiled with it.
    pub tested: bool,
}

/// What a file declares and names.
#[derive(Debug, Default)]
pub struct Contents {
    pub paths: Vec<Named>,
    /// Modules in files of their own that only tests are compiled with.
    pub test_modules: Vec<String>,
}

pub fn contents(text: &str) -> Contents {
    let tokens = TokenStream::from_str(text).expect("the source is Rust");
    let mut contents = Contents::default();
    walk(tokens, &[], false, &mut contents);
    contents
}

fn punct(token: Option<&TokenTree>, c: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == c)
}

fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(i)) => Some(i.to_string()),
        _ => None,
    }
}

/// Whether an attribute such as `#[cfg(test)]` or `#[cfg(all(test, unix))]` stands before token `i`.
fn for_tests(tokens: &[TokenTree], mut i: usize) -> bool {
    while i >= 2 && punct(tokens.get(i - 2), '#') {
        let TokenTree::Group(attribute) = &tokens[i - 1] else { return false };
        let words = attribute.stream().to_string();
        if words.starts_with("cfg")
            && !words.contains("not")
            && words.split(|c: char| !c.is_alphanumeric()).any(|w| w == "test")
        {
            return true;
        }
        i -= 2;
    }
    false
}

/// The first token of the item that holds the keyword at `i`: before its visibility.
fn start_of_item(tokens: &[TokenTree], i: usize) -> usize {
    match i {
        i if i >= 2
            && matches!(&tokens[i - 1], TokenTree::Group(g) if g.delimiter() == Delimiter::Parenthesis)
            && ident(tokens.get(i - 2)).is_some_and(|w| w == "pub") =>
        {
            i - 2
        }
        i if i >= 1 && ident(tokens.get(i - 1)).is_some_and(|w| w == "pub") => i - 1,
        i => i,
    }
}

fn walk(stream: TokenStream, inside: &[String], tested: bool, contents: &mut Contents) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut i = 0;
    while i < tokens.len() {
        let start = start_of_item(&tokens, i);
        match &tokens[i] {
            TokenTree::Ident(word) if word == "use" => {
                let end = (i..tokens.len()).find(|k| punct(tokens.get(*k), ';')).unwrap_or(tokens.len());
                let mark = Mark { inside, exported: start < i, tested: tested || for_tests(&tokens, start) };
                tree(&tokens[i + 1..end], &[], &mark, contents);
                i = end;
            }
            TokenTree::Ident(word) if word == "mod" => {
                let name = ident(tokens.get(i + 1)).unwrap_or_default();
                let tested = tested || for_tests(&tokens, start);
                match tokens.get(i + 2) {
                    Some(TokenTree::Group(body)) => {
                        let deeper: Vec<String> = inside.iter().cloned().chain([name]).collect();
                        walk(body.stream(), &deeper, tested, contents);
                    }
                    _ if tested => contents.test_modules.push(name),
                    _ => {}
                }
                i += 2;
            }
            TokenTree::Ident(_) => i = path(&tokens, i, inside, tested, contents),
            TokenTree::Group(group) => walk(group.stream(), inside, tested || body_for_tests(&tokens, i), contents),
            _ => {}
        }
        i += 1;
    }
}

/// Whether the group at `i` is the body of a function or `impl` that only tests are compiled with.
fn body_for_tests(tokens: &[TokenTree], i: usize) -> bool {
    if !matches!(&tokens[i], TokenTree::Group(g) if g.delimiter() == Delimiter::Brace) {
        return false;
    }
    let begins = |k: &usize| {
        matches!(&tokens[*k], TokenTree::Punct(p) if p.as_char() == ';')
            || matches!(&tokens[*k], TokenTree::Group(g) if g.delimiter() == Delimiter::Brace)
    };
    let first = (0..i).rev().find(begins).map_or(0, |k| k + 1);
    (first..i).any(|k| {
        matches!(&tokens[k], TokenTree::Ident(w) if w == "fn" || w == "impl" || w == "struct")
            && for_tests(tokens, start_of_item(tokens, k))
    })
}

/// Notes a path in code, and gives the index of its last token.
fn path(tokens: &[TokenTree], i: usize, inside: &[String], tested: bool, contents: &mut Contents) -> usize {
    // The rest of a path that began elsewhere, a field or a method.
    if i > 0
        && (punct(tokens.get(i - 1), ':') && i > 1 && punct(tokens.get(i - 2), ':') || punct(tokens.get(i - 1), '.'))
    {
        return i;
    }
    let mut segments = vec![ident(tokens.get(i)).unwrap_or_default()];
    let mut end = i;
    while punct(tokens.get(end + 1), ':') && punct(tokens.get(end + 2), ':') {
        let Some(next) = ident(tokens.get(end + 3)) else { break };
        segments.push(next);
        end += 3;
    }
    if segments.len() > 1 {
        let line = tokens[i].span().start().line;
        let named =
            Named { segments, alias: None, line, inside: inside.to_vec(), imported: false, exported: false, tested };
        contents.paths.push(named);
    }
    end
}

struct Mark<'a> {
    inside: &'a [String],
    exported: bool,
    tested: bool,
}

/// Notes every path of a `use` tree.
fn tree(tokens: &[TokenTree], prefix: &[String], mark: &Mark, contents: &mut Contents) {
    for branch in tokens.split(|t| punct(Some(t), ',')) {
        let Some(first) = branch.first() else { continue };
        let line = first.span().start().line;
        let mut segments = prefix.to_vec();
        let (mut alias, mut below) = (None, None);
        let mut words = branch.iter();
        while let Some(token) = words.next() {
            match token {
                TokenTree::Ident(word) if word == "as" => alias = ident(words.next()),
                TokenTree::Ident(word) => segments.push(word.to_string()),
                TokenTree::Punct(p) if p.as_char() == '*' => segments.push("*".to_owned()),
                TokenTree::Group(group) => below = Some(group.stream().into_iter().collect::<Vec<_>>()),
                _ => {}
            }
        }
        if let Some(below) = below {
            tree(&below, &segments, mark, contents);
            continue;
        }
        if segments.len() > 1 && segments.last().is_some_and(|s| s == "self") {
            segments.pop();
        }
        let (inside, exported, tested) = (mark.inside.to_vec(), mark.exported, mark.tested);
        contents.paths.push(Named { segments, alias, line, inside, imported: true, exported, tested });
    }
}
