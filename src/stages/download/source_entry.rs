//! One file of a `source` table, and what there is to say of it when it isn't as it should be.

use super::local_sources;
use crate::{
    base::tracked_fs::TrackedFs,
    config::{Diagnostic, Span},
    fetch::Source,
};

/// One file of a `source` table.
#[derive(Debug, Clone)]
pub struct SourceEntry {
    /// The tables that lead to it: `["dataset", "movies", "source", "reviews.txt"]`.
    pub key: [String; 4],
    /// Its name in the artifact.
    pub name: String,
    /// `file:` paths are absolute.
    pub source: Source,
    /// Where the entry is written.
    pub span: Span,
}

impl SourceEntry {
    /// What to tell people where the source is a local file and not the one that is pinned, or can't be read.
    pub fn changed(&self, tracked_fs: &TrackedFs) -> Option<Diagnostic> {
        let place = format!("`{}` of {}.{}", self.name, self.key[0], self.key[1]);
        match local_sources::changed(&self.source, tracked_fs) {
            Ok(None) => None,
            Ok(Some(changed)) => {
                let (key, now) = changed.pins.into_iter().next().unwrap_or_default();
                Some(
                    Diagnostic::new(format!("{place} has changed since it was pinned"))
                        .at(self.span)
                        .label("a local file that was edited or replaced")
                        .help(format!(
                            "if that is meant, `emopipe pin --update PIPELINE` pins the file as it is now, and results follow; else \
                             put the earlier one back\n{key} pinned {}\n{key} found  {now}",
                            changed.pinned
                        )),
                )
            }
            Err(e) => {
                Some(Diagnostic { help: e.help, ..Diagnostic::new(format!("{place}: {}", e.message)).at(self.span) })
            }
        }
    }

    /// What people have to do, where the file is one that they have to fetch by hand and it isn't there.
    pub fn absent(&self, tracked_fs: &TrackedFs) -> Option<Diagnostic> {
        let manual = self.source.manual.as_deref()?.trim();
        let path = self.source.local_path();
        if path.as_ref().is_some_and(|path| tracked_fs.is_file(path)) || !(path.is_some() || self.source.by_hand()) {
            return None;
        }
        let place = path.map_or_else(
            || format!("{}/{} in the data folder", self.key[1], self.name),
            |path| path.display().to_string(),
        );
        let what = format!("`{}` of {}.{} can't be downloaded, and it isn't here", self.name, self.key[0], self.key[1]);
        Some(Diagnostic::new(what).at(self.span).label("to be fetched by hand").help(format!(
            "{manual}\nput it at {place} (`--data DIR` names another folder)\n`emopipe pin PIPELINE` then writes its hash into the card; until then, reports call it \
             a local copy"
        )))
    }
}
