//! Which file uses which: every path followed to the file that defines what it names.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{Contents, Named, contents};

type Module = Vec<String>;

/// One file uses another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    pub from: String,
    pub line: usize,
    pub to: String,
    /// As it is written.
    pub name: String,
    /// Whether only tests do.
    pub tested: bool,
}

pub struct House {
    pub files: BTreeSet<String>,
    pub uses: BTreeSet<Use>,
}

struct Index {
    /// The file of each module.
    files: BTreeMap<Module, String>,
    contents: BTreeMap<String, Contents>,
    /// Files that only tests are compiled with.
    tests: BTreeSet<String>,
}

fn module(file: &str) -> Module {
    let mut parts: Module = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|p| p == "mod") || parts == ["lib"] || parts == ["main"] {
        parts.pop();
    }
    parts
}

impl House {
    pub fn new(sources: &BTreeMap<String, String>) -> Self {
        let contents: BTreeMap<String, Contents> =
            sources.iter().map(|(file, text)| (file.clone(), contents(text))).collect();
        let files: BTreeMap<Module, String> =
            sources.keys().filter(|f| *f != "main.rs").map(|f| (module(f), f.clone())).collect();
        let mut index = Index { files, contents, tests: BTreeSet::new() };
        index.tests = index.test_files();
        let mut uses = BTreeSet::new();
        for (file, contents) in &index.contents {
            for named in &contents.paths {
                if let Some(to) = index.target(file, named).filter(|to| to != file) {
                    let tested = named.tested || index.tests.contains(file);
                    let name = named.segments.join("::");
                    uses.insert(Use { from: file.clone(), line: named.line, to, name, tested });
                }
            }
        }
        Self { files: sources.keys().cloned().collect(), uses }
    }
}

impl Index {
    /// Files of modules that are declared for tests alone, with those below them.
    fn test_files(&self) -> BTreeSet<String> {
        let declared = self.contents.iter().flat_map(|(file, contents)| {
            let parent = module(file);
            contents
                .test_modules
                .iter()
                .map(move |name| parent.iter().cloned().chain([name.clone()]).collect::<Module>())
        });
        let roots: Vec<Module> = declared.collect();
        let below = |m: &Module| roots.iter().any(|root| m.starts_with(root));
        self.files.iter().filter(|(m, _)| below(m)).map(|(_, file)| file.clone()).collect()
    }

    /// The file that defines what `named` in `file` means; none where it isn't of this crate.
    fn target(&self, file: &str, named: &Named) -> Option<String> {
        let here = module(file);
        let mut place = here.clone();
        place.extend(named.inside.iter().cloned());
        let path = self.absolute(&here, &place, &named.segments)?;
        // `pub use child::Name` in a parent hands a name on and uses nothing.
        if named.exported && path.starts_with(&here) && path.len() > here.len() && named.inside.is_empty() {
            return None;
        }
        self.follow(path, 0)
    }

    fn absolute(&self, here: &[String], place: &[String], segments: &[String]) -> Option<Module> {
        let mut base = place.to_vec();
        match segments[0].as_str() {
            "crate" => Some(segments[1..].to_vec()),
            "self" => Some([place, &segments[1..]].concat()),
            "super" => {
                let ups = segments.iter().take_while(|s| *s == "super").count();
                base.truncate(base.len().checked_sub(ups)?);
                base.extend(segments[ups..].iter().cloned());
                Some(base)
            }
            // A child module, or what a `use` of the same file has brought in; the latter counts where it was brought in.
            first => {
                base = here.to_vec();
                base.push(first.to_owned());
                self.files.contains_key(&base).then(|| [here, segments].concat())
            }
        }
    }

    /// The file of `path`, through the names that modules hand on.
    fn follow(&self, path: Module, depth: usize) -> Option<String> {
        let known = (0..=path.len()).rev().find(|n| self.files.contains_key(&path[..*n]))?;
        let file = &self.files[&path[..known]];
        let Some(name) = path.get(known) else { return Some(file.clone()) };
        let handed = self.contents[file].paths.iter().find(|p| {
            let called = p.alias.as_ref().or(p.segments.last());
            p.exported && p.imported && p.inside.is_empty() && called == Some(name)
        });
        let Some(handed) = handed.filter(|_| depth < 8) else { return Some(file.clone()) };
        let here = module(file);
        let Some(mut next) = self.absolute(&here, &here, &handed.segments) else { return Some(file.clone()) };
        next.extend(path[known + 1..].iter().cloned());
        self.follow(next, depth + 1)
    }
}
