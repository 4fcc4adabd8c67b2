//! Where a plan's exports go: each file of the project is one action's.

use std::{
    collections::{HashMap, HashSet},
    path::{Component, Path, PathBuf},
};

use super::action::Action;
use crate::{
    base::durable,
    config::{Diagnostic, Spec},
    store::{manifest, names},
};

/// More problems than these are more of the same.
const MOST: usize = 20;

/// What an action would place somewhere.
#[derive(Clone, Copy)]
struct Claim<'a> {
    action: &'a Action,
    folder: &'a str,
    /// The file's name, where it is known.
    name: Option<&'a str>,
}

impl Claim<'_> {
    /// What it claims, as people would write it.
    fn path(&self) -> String {
        let folder = self.folder.trim_end_matches('/');
        self.name.map_or_else(|| format!("{folder}/"), |name| format!("{folder}/{name}"))
    }
}

/// What the exports of these actions do to each other, to the pipeline's own files, and to what emopipe keeps beside them.
pub fn collisions<'a>(spec: &Spec, actions: impl Iterator<Item = &'a Action>) -> Vec<Diagnostic> {
    let outputs = |action: &'a Action| {
        let folder = action.export.as_deref()?;
        Some((action, folder, action.kind.outputs(&action.resolved.params)))
    };
    let exports: Vec<_> = actions.filter_map(outputs).collect();
    let own: HashSet<PathBuf> = spec.tracked_fs.texts().iter().map(|path| place(path)).collect();
    let mut claimed = Claimed { spec, own, files: HashMap::new(), told: HashSet::new(), found: Vec::new() };
    for (action, folder, outputs) in &exports {
        match outputs {
            // All that is known is that actions of one stage write files of the same names.
            None => claimed.add(&action.stage, Claim { action, folder, name: None }),
            Some(outputs) => {
                outputs.iter().for_each(|name| claimed.add("", Claim { action, folder, name: Some(name) }));
            }
        }
    }
    claimed.add_nested();
    claimed.found.truncate(MOST);
    claimed.found
}

/// Who claims what, and the problems with it.
struct Claimed<'a> {
    spec: &'a Spec,
    /// The pipeline's own files.
    own: HashSet<PathBuf>,
    /// By a stage whose files aren't known, or by none, and by place.
    files: HashMap<(&'a str, PathBuf), Claim<'a>>,
    /// Stages whose collisions were reported.
    told: HashSet<(&'a str, &'a str)>,
    found: Vec<Diagnostic>,
}

impl<'a> Claimed<'a> {
    fn add(&mut self, unknown: &'a str, claim: Claim<'a>) {
        let path = self.spec.pipeline.root.join(claim.path());
        let place = place(&path);
        if let Some(diagnostic) = claim.name.and_then(reserved) {
            let message =
                format!("{} can't export `{}`: {diagnostic}", claim.action.name, claim.name.unwrap_or_default());
            return self.report(claim, Diagnostic::new(message).help("give the output another name"));
        }
        if self.own.contains(&place) {
            let message =
                format!("{} would export over `{}`, which is a part of the pipeline", claim.action.name, claim.path());
            return self.report(claim, Diagnostic::new(message).help("choose another folder for `export`"));
        }
        let other = self.files.insert((unknown, place), claim).filter(|other| other.action.name != claim.action.name);
        if let Some(other) = other
            && self.told.insert((&other.action.stage, &claim.action.stage))
        {
            self.report(claim, both(other, claim));
        }
    }

    /// Files that others would need as folders.
    fn add_nested(&mut self) {
        let mut found = Vec::new();
        for ((unknown, path), &claim) in &self.files {
            let above = path.ancestors().skip(1).find_map(|above| self.files.get(&(unknown, above.to_owned())));
            if let Some(&other) = above.filter(|_| unknown.is_empty()) {
                found.push((claim.path(), claim, other));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        for (path, claim, other) in found {
            let message = format!(
                "{} exports `{path}`, and {} exports a file `{}`",
                claim.action.name,
                other.action.name,
                other.path()
            );
            let help = "a file and a folder can't have one name: choose another folder for one `export`";
            self.report(claim, Diagnostic::new(message).help(help));
        }
    }

    fn report(&mut self, claim: Claim, diagnostic: Diagnostic) {
        let stage = self.spec.stage(&claim.action.stage);
        self.found.push(diagnostic.at(stage.map(|stage| stage.export_span.unwrap_or(stage.span))));
    }
}

/// Two actions that claim one place.
fn both(a: Claim, b: Claim) -> Diagnostic {
    let same = if a.path() == b.path() {
        String::new()
    } else {
        format!(", which is `{}` too where a path's case and detours don't count", a.path())
    };
    let message = format!("{} and {} both export `{}`{same}", a.action.name, b.action.name, b.path());
    let of_one_stage = a.action.stage == b.action.stage;
    let differing = b.action.axes.iter().find(|axis| of_one_stage && !a.action.axes.contains(axis));
    let help = match differing {
        Some((axis, _)) => {
            let folder = b.folder.trim_end_matches('/');
            format!("put what differs into the path, such as `export = \"{folder}/${{{axis}}}\"`")
        }
        None => "give one of them a folder of its own, or its files other names".to_owned(),
    };
    Diagnostic::new(message).help(help).label("one of them would replace what the other exports")
}

/// Names that emopipe uses beside exported files.
fn reserved(name: &str) -> Option<&'static str> {
    let ours = |part: &str| part.eq_ignore_ascii_case(manifest::FILE) || durable::is_temporary(Path::new(part));
    if name.split('/').any(ours) {
        return Some("emopipe keeps files of that name beside what it exports");
    }
    names::why_impossible(name)
}

/// Two paths that could be one file on some filesystem are one place: letters of either case and composed or not are the
/// same, and so are detours.
fn place(path: &Path) -> PathBuf {
    use unicode_normalization::UnicodeNormalization;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut out = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            Component::Normal(part) => out.push(part.to_string_lossy().to_lowercase().nfc().collect::<String>()),
            root => out.push(root),
        }
    }
    out
}
