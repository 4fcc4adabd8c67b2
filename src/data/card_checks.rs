//! Whether a dataset card's settings fit together.

use std::collections::BTreeSet;

use super::{
    card::Card,
    diagnose::{deepest, diagnostic},
};
use crate::config::{Diagnostic, Node};

impl Card {
    /// What is wrong with the card as a whole; `node` is where it is written.
    pub fn diagnostics(&self, node: &Node) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        self.check_files(node, &mut found);
        self.check_splits(node, &mut found);
        found.extend(self.read.diagnostics(deepest(node, ["read"])));
        if self.schemes.is_empty() {
            found.push(
                diagnostic(node, ["schemes"], "the card has no label scheme")
                    .help("add `[dataset.NAME.schemes.SCHEME]`"),
            );
        }
        for (name, scheme) in &self.schemes {
            found.extend(scheme.diagnostics(deepest(node, ["schemes", name.as_str()])));
            let (needed, key) = if scheme.bins.is_empty() {
                (self.fields.label.is_some() || self.all_files_labelled(), "label")
            } else {
                (self.fields.value.is_some(), "value")
            };
            if !needed {
                found.push(
                    diagnostic(
                        node,
                        ["schemes", name.as_str()],
                        format!("scheme `{name}` needs a {key}, and no column has one"),
                    )
                    .help(format!("name the column: `fields.{key} = \"...\"`")),
                );
            }
        }
        found
    }

    fn all_files_labelled(&self) -> bool {
        !self.files.is_empty() && self.files.iter().all(|f| f.label.is_some())
    }

    fn check_files(&self, node: &Node, found: &mut Vec<Diagnostic>) {
        if self.source.is_empty() {
            found.push(
                diagnostic(node, ["source"], "the card names no file").help("add `[dataset.NAME.source.\"FILE\"]`"),
            );
        }
        let mut seen = BTreeSet::new();
        let lists = self.fields.split_lists.values().map(|name| (&["fields", "split_lists"][..], name));
        for (keys, name) in self.files.iter().map(|file| (&["files"][..], &file.name)).chain(lists) {
            if !self.source.contains_key(name) {
                let known: Vec<_> = self.source.keys().map(String::as_str).collect();
                found.push(
                    diagnostic(node, keys.iter().copied(), format!("`{name}` is not among the sources"))
                        .help(format!("sources: {}", known.join(", "))),
                );
            }
        }
        for file in &self.files {
            if !seen.insert(&file.name) {
                found.push(diagnostic(node, ["files"], format!("`{}` is listed twice", file.name)));
            }
        }
        if self.fields.label.is_some() && self.files.iter().any(|f| f.label.is_some()) {
            found.push(diagnostic(node, ["files"], "labels come from a column or from the files, not from both"));
        }
    }

    fn check_splits(&self, node: &Node, found: &mut Vec<Diagnostic>) {
        let by_file = self.files.iter().filter(|f| f.split.is_some()).count();
        let sources = [
            ("`split`", self.split.is_some()),
            ("`fields.split`", self.fields.split.is_some()),
            ("`files`", by_file > 0),
        ];
        let given: Vec<_> = sources.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        match given.as_slice() {
            [] => found.push(diagnostic(node, [], "the card doesn't say how rows are split").help(
                "add `split = { train = 0.8, dev = 0.1, test = 0.1 }`, or say which file or column gives the split",
            )),
            [_] => {}
            several => {
                found.push(diagnostic(node, ["split"], format!("splits come from {} at once", several.join(" and "))))
            }
        }
        if by_file > 0 && by_file < self.files.len() {
            found.push(diagnostic(node, ["files"], "some files have a split and some have none"));
        }
        let lists = &self.fields.split_lists;
        if !lists.is_empty() && (self.fields.split.is_none() || !self.fields.splits.is_empty()) {
            found.push(
                diagnostic(
                    node,
                    ["fields", "split_lists"],
                    "lists of splits need a column, and no `splits` beside them",
                )
                .help("name the column whose values the files list: `fields.split = \"...\"`"),
            );
        }
        if let Some(fractions) = &self.split {
            found.extend(fractions.diagnostics(deepest(node, ["split"])));
        }
    }
}
