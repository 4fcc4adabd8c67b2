//! The rules, each a function from sources to a line for every place that breaks it.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use petgraph::{algo::kosaraju_scc, graph::DiGraph};
use proc_macro2::{TokenStream, TokenTree};

use super::{
    house::{House, Use},
    paths::contents,
};

/// The layers of the table under `## Layers`, from the top down.
pub fn layers(map: &str) -> Vec<String> {
    let section = map.split("\n## Layers\n").nth(1).and_then(|s| s.split("\n## ").next()).expect("a section Layers");
    let name = |line: &str| line.strip_prefix("| `")?.split_once("` |").map(|(name, _)| name.to_owned());
    let found: Vec<String> = section.lines().filter_map(name).collect();
    assert!(found.len() > 2, "the table of layers wasn't found");
    found
}

/// The patterns after `Planning code:`.
pub fn planning_code(map: &str) -> Vec<String> {
    let text = map.split("Planning code: ").nth(1).and_then(|s| s.split("\n\n").next()).expect("`Planning code: ...`");
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn layer(file: &str) -> Option<&str> {
    file.split_once('/').map(|(layer, _)| layer)
}

pub fn upward(house: &House, layers: &[String]) -> Vec<String> {
    let height = |layer: &str| layers.iter().rev().position(|l| l == layer);
    let strangers: BTreeSet<&str> =
        house.files.iter().filter_map(|f| layer(f)).filter(|l| height(l).is_none()).collect();
    let mut found: Vec<String> =
        strangers.iter().map(|l| format!("src/{l}: `{l}` is no layer of ARCHITECTURE.md's table")).collect();
    for Use { from, line, to, name, .. } in &house.uses {
        let (Some(mine), Some(theirs)) = (layer(from), layer(to)) else { continue };
        if height(mine) < height(theirs) {
            found.push(format!("src/{from}:{line}: `{mine}` uses `{name}` of `{theirs}`, which lies above it"));
        }
    }
    found
}

pub fn circles(house: &House) -> Vec<String> {
    let uses: Vec<&Use> = house.uses.iter().filter(|u| !u.tested).collect();
    let files: Vec<&str> = house.files.iter().map(String::as_str).collect();
    let number = |file: &str| files.binary_search(&file).expect("a file of the house") as u32;
    let graph = DiGraph::<(), ()>::from_edges(uses.iter().map(|u| (number(&u.from), number(&u.to))));
    let rings = kosaraju_scc(&graph).into_iter().filter(|ring| ring.len() > 1);
    let rings = rings.map(|ring| ring.into_iter().map(|n| files[n.index()]).collect::<Vec<_>>());
    let told = rings.map(|mut ring| {
        ring.sort_unstable();
        let inner = uses.iter().filter(|u| ring.contains(&u.from.as_str()) && ring.contains(&u.to.as_str()));
        let lines: Vec<String> =
            inner.map(|u| format!("  src/{}:{}: {} -> src/{}", u.from, u.line, u.name, u.to)).collect();
        format!("a circle of {} files:\n{}", ring.len(), lines.join("\n"))
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

/// Modules whose functions ask the system, and methods of paths that do.
const SYSTEM: [&str; 4] = ["fs", "env", "File", "OpenOptions"];
const METHODS: [&str; 8] =
    ["exists", "try_exists", "is_file", "is_dir", "metadata", "symlink_metadata", "read_dir", "canonicalize"];

pub fn untracked(sources: &BTreeMap<String, String>, planning: &[String]) -> Vec<String> {
    let patterns: Vec<glob::Pattern> = planning.iter().map(|p| glob::Pattern::new(p).expect("a pattern")).collect();
    let mut found = Vec::new();
    for (file, text) in sources.iter().filter(|(file, _)| patterns.iter().any(|p| p.matches(file))) {
        if file.ends_with("tests.rs") || file.contains("/tests/") {
            continue;
        }
        let paths = contents(text).paths;
        let asks = |segments: &[String]| {
            if segments[0] == "glob" {
                return segments.get(1).is_some_and(|s| s.starts_with("glob"));
            }
            let std = segments[0] == "std" && segments.get(1).is_some_and(|s| SYSTEM.contains(&s.as_str()));
            std || SYSTEM.contains(&segments[0].as_str())
        };
        let named = paths.iter().filter(|p| !p.tested && asks(&p.segments)).map(|p| (p.line, p.segments.join("::")));
        let untested = text.split("#[cfg(test)]").next().unwrap_or_default();
        let tokens = TokenStream::from_str(untested).expect("the source is Rust");
        let mut called = Vec::new();
        calls(tokens, &mut called);
        let mut lines: Vec<(usize, String)> = named.chain(called).collect();
        lines.sort();
        lines.dedup_by_key(|(line, _)| *line);
        found.extend(lines.into_iter().map(|(line, what)| {
            format!("src/{file}:{line}: planning asks the system by `{what}`, and not through the tracked file system")
        }));
    }
    found
}

/// Calls of path methods on something that isn't the tracked file system.
fn calls(stream: TokenStream, found: &mut Vec<(usize, String)>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    for (i, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            calls(group.stream(), found);
        }
        let TokenTree::Ident(method) = token else { continue };
        let dotted = i > 1 && matches!(&tokens[i - 1], TokenTree::Punct(p) if p.as_char() == '.');
        let tracked = |t: &TokenTree| matches!(t, TokenTree::Ident(w) if w == "fs" || w == "tracked_fs");
        if dotted && METHODS.contains(&method.to_string().as_str()) && !tracked(&tokens[i - 2]) {
            found.push((method.span().start().line, format!(".{method}()")));
        }
    }
}

/// `mod.rs` declares modules and hands names on; a registry, a list of what the folder has, may stand there too.
pub fn logic_in_mod_files(sources: &BTreeMap<String, String>) -> Vec<String> {
    const LOGIC: [&str; 9] = ["fn", "struct", "enum", "impl", "const", "trait", "type", "macro_rules", "union"];
    let mut found = Vec::new();
    for (file, text) in sources.iter().filter(|(file, _)| file.ends_with("/mod.rs")) {
        let tokens: Vec<TokenTree> = TokenStream::from_str(text).expect("the source is Rust").into_iter().collect();
        let own = tokens.iter().enumerate().find(|(i, token)| match token {
            TokenTree::Ident(word) if *word == "mod" => matches!(tokens.get(i + 2), Some(TokenTree::Group(_))),
            TokenTree::Ident(word) => LOGIC.contains(&word.to_string().as_str()),
            _ => false,
        });
        if let Some((_, token)) = own {
            found.push(format!("src/{file}:{}: `{token}` is logic: give it a file", token.span().start().line));
        }
    }
    found
}

pub fn without_first_line(sources: &BTreeMap<String, String>) -> Vec<String> {
    let silent = sources.iter().filter(|(_, text)| !text.starts_with("//! "));
    silent.map(|(file, _)| format!("src/{file} doesn't begin with a line `//! ...` that says what it is")).collect()
}

pub fn equal_names(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in sources.keys() {
        let name = file.rsplit('/').next().unwrap_or(file);
        if !matches!(name, "mod.rs" | "tests.rs") {
            names.entry(name).or_default().push(format!("src/{file}"));
        }
    }
    let twice = names.into_iter().filter(|(_, files)| files.len() > 1);
    twice.map(|(name, files)| format!("{name} stands twice: {}", files.join(", "))).collect()
}
