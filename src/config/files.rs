//! Reads a file and everything that it includes.

use std::{
    collections::HashSet,
    path::{Component, Path, PathBuf},
};

use super::{
    Diagnostic, Node, SourceMap, Span, Table, Value,
    diagnostic::{Sink, shown},
    merge::{overlay, unite},
    parse::parse_text,
};
use crate::surroundings::Surroundings;

pub(super) struct Files<'a> {
    pub surroundings: &'a Surroundings,
    pub sources: &'a mut SourceMap,
    pub sink: &'a mut Sink,
    /// Files with syntax errors: what they hold is known in part only.
    pub broken: HashSet<u32>,
    /// Top-level tables whose entries are named things, each defined in one file.
    pub named: &'a dyn Fn(&str) -> bool,
}

/// Where the reader is.
#[derive(Default)]
struct Trail {
    /// The files that include each other, outermost first: real path, path as written.
    open: Vec<(PathBuf, PathBuf)>,
    done: HashSet<PathBuf>,
}

impl Files<'_> {
    /// `path` and its includes as one table; the including file's own values win.
    pub fn read(&mut self, path: &Path) -> Option<Table> {
        self.file(path, None, true, &mut Trail::default())
    }

    /// The files that a profile's `include` names, merged; later ones win. A name may occur in several.
    pub fn read_overlay(&mut self, include: &Node) -> Table {
        let mut merged = Table::new();
        let mut trail = Trail::default();
        for (path, span) in self.included(include) {
            if let Some(table) = self.file(&path, Some(span), false, &mut trail) {
                overlay(&mut merged, table);
            }
        }
        merged
    }

    fn file(&mut self, path: &Path, at: Option<Span>, strict: bool, trail: &mut Trail) -> Option<Table> {
        let text = match self.surroundings.read_to_string(path) {
            Ok(text) => text,
            Err(e) => {
                let help = match e.kind() {
                    std::io::ErrorKind::NotFound if at.is_some() => {
                        "paths in `include` are relative to the file that includes"
                    }
                    std::io::ErrorKind::NotFound => "check the path of the pipeline file",
                    std::io::ErrorKind::InvalidData => "pipeline files are UTF-8",
                    _ => "make the file readable",
                };
                self.sink.push(Diagnostic::new(format!("can't read {}: {e}", shown(path).display())).at(at).help(help));
                return None;
            }
        };
        let real = self.surroundings.real(path).unwrap_or_else(|| path.to_owned());
        if let Some(from) = trail.open.iter().position(|(open, _)| *open == real) {
            let mut chain: Vec<_> = trail.open[from..].iter().map(|(_, p)| shown(p).display().to_string()).collect();
            chain.push(shown(path).display().to_string());
            self.sink.push(
                Diagnostic::new(format!("files include each other: {}", chain.join(" -> ")))
                    .at(at)
                    .label("this closes the circle")
                    .help("move what both need into a third file"),
            );
            return None;
        }
        if !trail.done.insert(real.clone()) {
            return None;
        }
        let file = self.sources.add(path.to_owned(), text.as_str());
        let (mut own, problems) = parse_text(file, &text);
        if !problems.is_empty() {
            self.broken.insert(file);
            self.sink.extend(problems);
        }
        let Some((_, include)) = own.shift_remove("include") else { return Some(own) };
        trail.open.push((real, path.to_owned()));
        let mut merged = Table::new();
        for (included, span) in self.included(&include) {
            if let Some(table) = self.file(&included, Some(span), strict, trail) {
                self.add(&mut merged, table, strict);
            }
        }
        trail.open.pop();
        self.add(&mut merged, own, strict);
        Some(merged)
    }

    fn add(&mut self, merged: &mut Table, table: Table, strict: bool) {
        if strict {
            unite(merged, table, self.named, self.sources, self.sink);
        } else {
            overlay(merged, table);
        }
    }

    /// The files that an `include` list names, those of one pattern sorted by name.
    fn included(&mut self, include: &Node) -> Vec<(PathBuf, Span)> {
        let Value::Array(items) = &include.value else {
            self.sink.push(
                Diagnostic::new(format!("`include` must be a list of files, not {}", include.kind_name()))
                    .at(include.span)
                    .help("write `include = [\"other.toml\"]`"),
            );
            return Vec::new();
        };
        let mut files = Vec::new();
        for item in items {
            let Some(pattern) = item.as_str() else {
                self.sink.push(
                    Diagnostic::new(format!("`include` must list strings, not {}", item.kind_name())).at(item.span),
                );
                continue;
            };
            let from = self.sources.path(item.span).unwrap_or(Path::new("")).to_owned();
            let dir = from.parent().unwrap_or(Path::new(""));
            if !pattern.contains(['*', '?', '[']) {
                files.push((tidy(&dir.join(pattern), self.surroundings), item.span));
                continue;
            }
            // Only the user's part is a pattern: the folder may be called anything.
            let full = Path::new(&glob::Pattern::escape(&dir.to_string_lossy())).join(pattern);
            match self.surroundings.matching(&full.to_string_lossy()) {
                Ok((mut found, unreadable)) => {
                    for e in unreadable {
                        self.sink.push(
                            Diagnostic::new(format!("can't read {}: {}", shown(e.path()).display(), e.error()))
                                .at(item.span)
                                .help("make the folder readable"),
                        );
                    }
                    found.retain(|path| !same_file(path, &from, self.surroundings));
                    if found.is_empty() {
                        self.sink.push(
                            Diagnostic::new(format!("no file matches `{pattern}`"))
                                .at(item.span)
                                .help("paths in `include` are relative to the file that includes"),
                        );
                    }
                    files.extend(found.into_iter().map(|p| (tidy(&p, self.surroundings), item.span)));
                }
                Err(e) => {
                    self.sink.push(Diagnostic::new(format!("`{pattern}` is no pattern: {}", e.msg)).at(item.span))
                }
            }
        }
        files
    }
}

fn same_file(a: &Path, b: &Path, surroundings: &Surroundings) -> bool {
    matches!((surroundings.real(a), surroundings.real(b)), (Some(a), Some(b)) if a == b)
}

/// `path` without `.` and `x/..` where that names the same place.
pub(super) fn tidy(path: &Path, surroundings: &Surroundings) -> PathBuf {
    let mut short = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(short.components().next_back(), Some(Component::Normal(_))) => {
                short.pop();
            }
            _ => short.push(part),
        }
    }
    if short.as_os_str().is_empty() {
        short.push(".");
    }
    // With a symbolic link on the way, `x/..` isn't where it seems to be.
    if surroundings.real(path).is_some() && !same_file(&short, path, surroundings) { path.to_owned() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tidy_paths() {
        for (path, short) in
            [("a/../b", "b"), ("./a/./b", "a/b"), ("../a", "../a"), ("a/..", "."), ("", "."), ("/a/../b", "/b")]
        {
            assert_eq!(tidy(Path::new(path), &Surroundings::default()), Path::new(short), "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_cut_away() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("real/deep")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real/deep"), dir.path().join("link")).unwrap();
        std::fs::write(dir.path().join("real/x"), "").unwrap();
        std::fs::write(dir.path().join("x"), "").unwrap();
        let path = dir.path().join("link/../x");
        assert_eq!(tidy(&path, &Surroundings::default()), path);
    }
}
