//! What a result was made from, read from the records in the store alone: from a report down to the raw files.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
};

use serde_json::Value;

use super::{
    history::stage,
    key::Preimage,
    reasons::{Reason, differences},
};
use crate::{
    base::digest::Digest,
    store::{Known, Store},
};

/// Earlier actions that a result is compared with, to find the nearest.
const MOST_COMPARED: usize = 100;

/// All results of a store, to be asked where things come from.
pub struct Lineage<'a> {
    store: &'a Store,
    results: Vec<(Digest, Known)>,
    /// Positions in `results` by artifact.
    makers: HashMap<Digest, Vec<usize>>,
}

impl<'a> Lineage<'a> {
    pub fn new(store: &'a Store) -> Self {
        let results = store.results();
        let mut makers: HashMap<Digest, Vec<usize>> = HashMap::new();
        for (i, (_, known)) in results.iter().enumerate() {
            for result in &known.results {
                makers.entry(result.artifact).or_default().push(i);
            }
        }
        Self { store, results, makers }
    }

    /// Keys whose own digest, artifact or one of whose files begins with these hexadecimal digits.
    pub fn find(&self, prefix: &str) -> Vec<Digest> {
        let prefix = prefix.to_ascii_lowercase();
        let begins = |d: &Digest| d.to_string().starts_with(&prefix);
        let matches = |(key, known): &&(Digest, Known)| {
            begins(key)
                || known.results.iter().any(|o| begins(&o.artifact) || o.files.iter().any(|f| begins(&f.digest)))
        };
        self.results.iter().filter(matches).map(|(key, _)| *key).collect()
    }

    /// The key under which an artifact was made last.
    pub fn maker(&self, artifact: &Digest) -> Option<Digest> {
        self.makers.get(artifact)?.last().map(|i| self.results[*i].0)
    }

    /// As [`Self::maker`], preferring the action of that name: several may have made the same bytes.
    fn maker_called(&self, artifact: &Digest, name: Option<&str>) -> Option<Digest> {
        let makers = self.makers.get(artifact)?;
        let called = |i: &&usize| name.is_some_and(|name| is_called(&self.results[**i].1.action, name));
        makers.iter().rev().find(called).or(makers.last()).map(|i| self.results[*i].0)
    }

    /// The earlier action of the same stage that differs in the fewest fields, and these.
    pub fn nearest(&self, key: &Digest) -> Option<(String, Vec<Reason>)> {
        let (_, known) = self.results.iter().find(|(k, _)| k == key)?;
        let own = Preimage::of_record(&self.store.preimage(key)?)?;
        let earlier = |(_, k): &&(Digest, Known)| k.order < known.order && stage(&k.action) == stage(&known.action);
        let described = |(k, other): &(Digest, Known)| {
            let old = Preimage::of_record(&self.store.preimage(k)?)?;
            Some((other.action.clone(), differences(&old, &own)))
        };
        // Of equals, the one made last.
        self.results
            .iter()
            .rev()
            .filter(earlier)
            .take(MOST_COMPARED)
            .filter_map(described)
            .min_by_key(|(_, found)| found.len())
    }

    /// Everything that a key's result was made from, as an indented list down to files and where they came from.
    pub fn tree(&self, key: &Digest) -> String {
        let mut out = String::new();
        self.write(key, ("", None), 0, &mut HashSet::new(), &mut out);
        out
    }

    /// The pair is the role in which the result was read, and what its reader calls it.
    fn write(
        &self,
        key: &Digest,
        (role, name): (&str, Option<&str>),
        depth: usize,
        seen: &mut HashSet<Digest>,
        out: &mut String,
    ) {
        let indent = "  ".repeat(depth);
        let role = if role.is_empty() { String::new() } else { format!("{role}: ") };
        let Some(known) = self.store.known(key) else { return };
        let artifact = known.results.first().map_or_else(String::new, |o| o.artifact.to_string());
        let record = self.store.preimage(key);
        let recorded = || record.as_ref().and_then(|r| r.get("action")?.as_str());
        let action = name.or_else(recorded).unwrap_or(&known.action);
        let _ = writeln!(out, "{indent}{role}{action}  artifact {artifact}");
        if let Some(acceptance) = &known.accepted {
            let _ = writeln!(out, "{indent}  accepted, not computed: {}", acceptance.note);
        }
        if !seen.insert(*key) {
            let _ = writeln!(out, "{indent}  (as above)");
            return;
        }
        let Some(record) = record else {
            let _ = writeln!(out, "{indent}  its description is lost");
            return;
        };
        let inputs = Preimage::of_record(&record).map(|p| p.inputs).unwrap_or_default();
        if inputs.is_empty() {
            for file in known.results.iter().flat_map(|o| &o.files) {
                let from = url(&record, &file.name).map_or_else(String::new, |u| format!("  {u}"));
                let _ = writeln!(out, "{indent}  file {}  {}{from}", file.digest, file.name);
            }
        }
        for (role, artifacts) in &inputs {
            for (i, artifact) in artifacts.iter().enumerate() {
                let name = record.get("makers").and_then(|makers| makers.get(role)?.get(i)?.as_str());
                match self.maker_called(artifact, name) {
                    Some(maker) => self.write(&maker, (role, name), depth + 1, seen, out),
                    None => drop(writeln!(out, "{indent}  {role}: artifact {artifact}, no longer in the store")),
                }
            }
        }
    }
}

/// Whether an identity, `pipeline:profile:action`, is that of an action of this name.
fn is_called(identity: &str, name: &str) -> bool {
    identity.strip_suffix(name).is_some_and(|rest| rest.ends_with(':'))
}

/// Where a file was fetched from, if the record says so.
fn url<'a>(record: &'a Value, file: &str) -> Option<&'a str> {
    record.get("unkeyed")?.get(file)?.get("url")?.as_str()
}
