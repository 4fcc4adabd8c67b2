//! Reads a file and everything that it includes.

use std::{
    collections::{HashMap, HashSet},
    path::{Component, Path, PathBuf},
};

use super::{
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    merge::{overlay, unite},
    node::{Node, Span, Table, Value},
    parse::parse_text,
    source_map::SourceMap,
    suggest::help_for,
};
use crate::base::tracked_fs::TrackedFs;

/// Files that include one another, one inside the other.
const DEEPEST: usize = 32;

/// Files of one pipeline.
const MOST_FILES: usize = 10_000;

/// Bytes of all files of one pipeline together.
const MOST_BYTES: usize = 64 << 20;

/// Syntax errors of one file that are shown.
const MOST_ERRORS: usize = 10;

/// From so many on, a file without a single table of ours is something else than a pipeline file with mistakes.
const NO_TOML: usize = 3;

pub(super) struct Files<'a> {
    pub tracked_fs: &'a TrackedFs,
    pub sources: &'a mut SourceMap,
    pub sink: &'a mut Sink,
    /// Files with syntax errors: what they hold is known in part only.
    pub broken: HashSet<u32>,
    /// Files that may say what is run: the pipeline's own, and what it includes with `stages = true`.
    pub trusted: HashSet<u32>,
    /// Top-level tables whose entries are named things, each defined in one file.
    pub named: &'a dyn Fn(&str) -> bool,
    /// Top-level keys that a pipeline file can have.
    pub known: &'a dyn Fn(&str) -> bool,
    /// Bytes of all files that were read.
    pub bytes: usize,
}

/// Where the reader is.
#[derive(Default)]
struct Trail {
    /// The files that include each other, outermost first: real path, path as written.
    open: Vec<(PathBuf, PathBuf)>,
    /// Files that were read, with their numbers.
    done: HashMap<PathBuf, u32>,
}

/// A file that an `include` names.
struct Included {
    path: PathBuf,
    span: Span,
    /// Whether it may bring stages.
    stages: bool,
}

impl Files<'_> {
    /// `path` and its includes as one table; the including file's own values win.
    pub fn read(&mut self, path: &Path) -> Option<Table> {
        self.file(path, None, true, true, &mut Trail::default())
    }

    /// The files that a profile's `include` names, merged; later ones win. A name may occur in several.
    pub fn read_overlay(&mut self, include: &Node) -> Table {
        let mut merged = Table::new();
        let mut trail = Trail::default();
        for Included { path, span, stages } in self.included(include) {
            if let Some(table) = self.file(&path, Some(span), stages, false, &mut trail) {
                overlay(&mut merged, table);
            }
        }
        merged
    }

    fn file(&mut self, path: &Path, at: Option<Span>, stages: bool, strict: bool, trail: &mut Trail) -> Option<Table> {
        let text = self.text(path, at)?;
        let real = self.tracked_fs.real(path).unwrap_or_else(|| path.to_owned());
        if self.closes_circle(path, &real, at, trail) {
            return None;
        }
        if let Some(file) = trail.done.get(&real) {
            // Whoever trusts it, trusts it.
            self.trusted.extend(stages.then_some(*file));
            return None;
        }
        if let Some(diagnostic) = self.too_much(trail) {
            self.sink.push(diagnostic.at(at));
            return None;
        }
        let file = self.sources.add(path.to_owned(), text.as_str());
        trail.done.insert(real.clone(), file);
        self.trusted.extend(stages.then_some(file));
        self.bytes += text.len();
        let mut own = self.parsed(path, file, &text);
        let Some((_, include)) = own.shift_remove("include") else { return Some(own) };
        trail.open.push((real, path.to_owned()));
        let mut merged = Table::new();
        for Included { path, span, stages } in self.included(&include) {
            if let Some(table) = self.file(&path, Some(span), stages, strict, trail) {
                self.add(&mut merged, table, strict);
            }
        }
        trail.open.pop();
        self.add(&mut merged, own, strict);
        Some(merged)
    }

    fn text(&mut self, path: &Path, at: Option<Span>) -> Option<String> {
        let e = match self.tracked_fs.read_to_string(path) {
            Ok(text) => return Some(text),
            Err(e) => e,
        };
        let help = match e.kind() {
            std::io::ErrorKind::NotFound if at.is_some() => "paths in `include` are relative to the file that includes",
            std::io::ErrorKind::NotFound => "check the path of the pipeline file",
            std::io::ErrorKind::InvalidData => "pipeline files are UTF-8",
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::FileTooLarge => "name a file of TOML",
            _ => "make the file readable",
        };
        self.sink
            .push(Diagnostic::new(format!("can't read {}: {e}", self.sources.shown(path).display())).at(at).help(help));
        None
    }

    fn closes_circle(&mut self, path: &Path, real: &Path, at: Option<Span>, trail: &Trail) -> bool {
        let Some(from) = trail.open.iter().position(|(open, _)| open == real) else { return false };
        let mut chain: Vec<_> =
            trail.open[from..].iter().map(|(_, p)| self.sources.shown(p).display().to_string()).collect();
        chain.push(self.sources.shown(path).display().to_string());
        self.sink.push(
            Diagnostic::new(format!("files include each other: {}", chain.join(" -> ")))
                .at(at)
                .label("this closes the circle")
                .help("move what both need into a third file"),
        );
        true
    }

    /// What to say where one more file would be more than anyone means.
    fn too_much(&self, trail: &Trail) -> Option<Diagnostic> {
        if trail.open.len() >= DEEPEST {
            let message = format!("files include one another more than {DEEPEST} deep");
            return Some(Diagnostic::new(message).help("let the pipeline file include what it needs itself"));
        }
        if self.sources.files.len() >= MOST_FILES || self.bytes > MOST_BYTES {
            let message = format!("this pipeline has more than {MOST_FILES} files, or {} MiB", MOST_BYTES >> 20);
            return Some(Diagnostic::new(message).help("include only what the pipeline needs"));
        }
        None
    }

    /// The tables of a file, as far as they can be read.
    fn parsed(&mut self, path: &Path, file: u32, text: &str) -> Table {
        let (own, diagnostics) = parse_text(file, text);
        if diagnostics.is_empty() {
            return own;
        }
        self.broken.insert(file);
        if diagnostics.len() >= NO_TOML && !own.keys().any(|key| (self.known)(key)) {
            let first = diagnostics.first().and_then(|diagnostic| diagnostic.span);
            self.sink.push(
                Diagnostic::new(format!("{} is no pipeline file: it isn't TOML", self.sources.shown(path).display()))
                    .at(first)
                    .label("TOML doesn't know this")
                    .help(
                        "data is named by a dataset card (docs/datasets.md); docs/pipeline-files.md shows a pipeline",
                    ),
            );
            return Table::new();
        }
        let more = diagnostics.len().saturating_sub(MOST_ERRORS);
        self.sink.extend(diagnostics.into_iter().take(MOST_ERRORS));
        if more > 0 {
            let message = format!("{more} more places in {} aren't valid TOML", self.sources.shown(path).display());
            self.sink.push(Diagnostic::new(message).help("mend the first ones: others may follow from them"));
        }
        own
    }

    fn add(&mut self, merged: &mut Table, table: Table, strict: bool) {
        if strict {
            unite(merged, table, self.named, self.sources, self.sink);
        } else {
            overlay(merged, table);
        }
    }

    /// The files that an `include` list names, those of one pattern sorted by name.
    fn included(&mut self, include: &Node) -> Vec<Included> {
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
            let Some((pattern, stages)) = self.item(item) else { continue };
            // Trust can't be given by whoever doesn't have it.
            let stages = stages && self.trusted.contains(&item.span.file);
            let paths = self.paths(pattern, item.span);
            files.extend(paths.into_iter().map(|path| Included { path, span: item.span, stages }));
        }
        files
    }

    /// An item of an `include` list: a path or pattern, and whether its files may bring stages.
    fn item<'n>(&mut self, item: &'n Node) -> Option<(&'n str, bool)> {
        let table = match &item.value {
            Value::Str(pattern) => return Some((pattern, false)),
            Value::Table(table) => table,
            _ => {
                self.sink.push(
                    Diagnostic::new(format!("`include` must list strings or tables, not {}", item.kind_name()))
                        .at(item.span)
                        .help("write \"FILE\" or `{ path = \"FILE\", stages = true }`"),
                );
                return None;
            }
        };
        for (name, (key, _)) in table.iter().filter(|(name, _)| !["path", "stages"].contains(&name.as_str())) {
            let help = help_for(name, &["path", "stages"], "keys");
            self.sink.push(Diagnostic::new(format!("unknown key `{name}`")).at(key.span).help(help));
        }
        let stages = table.get("stages").map(|(_, node)| node);
        if let Some(node) = stages.filter(|node| node.as_bool().is_none()) {
            let message = format!("`stages` must be true or false, not {}", node.kind_name());
            self.sink.push(Diagnostic::new(message).at(node.span));
        }
        let path = table.get("path").and_then(|(_, node)| node.as_str());
        if path.is_none() {
            self.sink.push(
                Diagnostic::new("an included file needs its `path`, a string")
                    .at(item.span)
                    .help("write `{ path = \"FILE\", stages = true }`"),
            );
        }
        Some((path?, stages.and_then(Node::as_bool).unwrap_or(false)))
    }

    /// The files that a path or pattern at `span` means.
    fn paths(&mut self, pattern: &str, span: Span) -> Vec<PathBuf> {
        let from = self.sources.path(span).unwrap_or(Path::new("")).to_owned();
        let dir = from.parent().unwrap_or(Path::new(""));
        if !pattern.contains(['*', '?', '[']) {
            return vec![tidy(&dir.join(pattern), self.tracked_fs)];
        }
        // Only the user's part is a pattern: the folder may be called anything.
        let full = Path::new(&glob::Pattern::escape(&dir.to_string_lossy())).join(pattern);
        let (mut found, unreadable) = match self.tracked_fs.matching(&full.to_string_lossy()) {
            Ok(found) => found,
            Err(e) => {
                self.sink.push(Diagnostic::new(format!("`{pattern}` is no pattern: {}", e.msg)).at(span));
                return Vec::new();
            }
        };
        for e in unreadable {
            self.sink.push(
                Diagnostic::new(format!("can't read {}: {}", self.sources.shown(e.path()).display(), e.error()))
                    .at(span)
                    .help("make the folder readable"),
            );
        }
        found.retain(|path| !same_file(path, &from, self.tracked_fs));
        if found.is_empty() {
            self.sink.push(
                Diagnostic::new(format!("no file matches `{pattern}`"))
                    .at(span)
                    .help("paths in `include` are relative to the file that includes"),
            );
        }
        found.into_iter().map(|p| tidy(&p, self.tracked_fs)).collect()
    }
}

fn same_file(a: &Path, b: &Path, tracked_fs: &TrackedFs) -> bool {
    matches!((tracked_fs.real(a), tracked_fs.real(b)), (Some(a), Some(b)) if a == b)
}

/// `path` without `.` and `x/..` where that names the same place.
pub(super) fn tidy(path: &Path, tracked_fs: &TrackedFs) -> PathBuf {
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
    if tracked_fs.real(path).is_some() && !same_file(&short, path, tracked_fs) { path.to_owned() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tidy_paths() {
        for (path, short) in
            [("a/../b", "b"), ("./a/./b", "a/b"), ("../a", "../a"), ("a/..", "."), ("", "."), ("/a/../b", "/b")]
        {
            assert_eq!(tidy(Path::new(path), &TrackedFs::default()), Path::new(short), "{path}");
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
        assert_eq!(tidy(&path, &TrackedFs::default()), path);
    }
}
