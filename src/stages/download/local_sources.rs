//! Sources that lie on this machine: where to look for files that people fetch by hand, and pins for files that have none.

use std::{path::Path, sync::Arc};

use crate::{
    base::{digest::Digest, error::Result, tracked_fs::TrackedFs},
    config::{Key, Node, Span, Spec, Value, from_node},
    fetch::{self, Source},
};

/// Gives every source without a URL its place in the data folder: `DATA/NAME/FILE`.
pub fn locate(spec: &mut Spec, data: &Path) {
    let each: Result<(), std::convert::Infallible> = for_each_source(spec, |name, file, entry| {
        if entry.source.by_hand() {
            let path = data.join(name).join(file);
            entry.set("url", Value::Str(format!("file:{}", path.display())));
        }
        Ok(())
    });
    let Ok(()) = each;
}

/// Pins every local file that is there for a source without a pin, by its content, and marks all pins that the definition
/// itself doesn't state (those of such files, of `--set` and of profiles in other files) as local.
///
/// # Errors
/// A file that is there and can't be read.
pub fn pin(spec: &mut Spec) -> Result<()> {
    let root = spec.pipeline.root.clone();
    let tracked_fs = Arc::clone(&spec.tracked_fs);
    for_each_source(spec, |_, _, entry| {
        let source = entry.source.clone().relative_to(&root);
        let found = match (source.blake3, source.local_path()) {
            (None, Some(path)) if source.manual.is_some() => tracked_fs.hash_if_file(&path, BLAKE3, blake3)?,
            _ => None,
        };
        match (source.blake3, found) {
            (Some(_), _) if entry.home("blake3") => {}
            (Some(_), _) => entry.set("local", Value::Bool(true)),
            (None, Some(digest)) => {
                entry.set("blake3", Value::Str(digest));
                entry.set("local", Value::Bool(true));
            }
            (None, None) if source.sha256.is_some() && !entry.home("sha256") => entry.set("local", Value::Bool(true)),
            (None, None) => {}
        }
        Ok(())
    })
}

/// A local file that isn't what is pinned.
#[derive(Debug, PartialEq)]
pub struct Changed {
    /// Key and hash of each pin, as the file is now.
    pub pins: Vec<(&'static str, String)>,
    /// The first of them, as it is pinned.
    pub pinned: String,
}

/// Whether the local file that a source names is another one than what is pinned.
///
/// # Errors
/// A file that is there and can't be read.
pub fn changed(source: &Source, tracked_fs: &TrackedFs) -> Result<Option<Changed>> {
    let Some(path) = source.local_path() else { return Ok(None) };
    let pins = [
        source.blake3.map(|pin| (BLAKE3, pin.to_string(), blake3 as fn(&Path) -> Result<String>)),
        source.sha256.map(|pin| (SHA256, pin.to_string(), sha256 as fn(&Path) -> Result<String>)),
    ];
    let (mut now, mut first) = (Vec::new(), None);
    for (key, pinned, hash) in pins.into_iter().flatten() {
        let Some(found) = tracked_fs.hash_if_file(&path, key, hash)? else { return Ok(None) };
        if found != pinned {
            first.get_or_insert(pinned);
            now.push((key, found));
        }
    }
    Ok(first.map(|pinned| Changed { pins: now, pinned }))
}

const BLAKE3: &str = "blake3";
const SHA256: &str = "sha256";

fn blake3(path: &Path) -> Result<String> {
    Ok(Digest::of_file(path)?.to_string())
}

fn sha256(path: &Path) -> Result<String> {
    Ok(fetch::sha256(path)?.to_string())
}

/// A file of a `source` table.
struct Entry<'a> {
    node: &'a mut Node,
    source: Source,
    /// Where it is written.
    span: Span,
    /// Number of the file that the definition is in.
    file: u32,
}

impl Entry<'_> {
    fn set(&mut self, key: &str, value: Value) {
        if let Value::Table(table) = &mut self.node.value {
            table.insert(key.to_owned(), (Key { span: self.span }, Node::new(self.span, value)));
        }
    }

    /// Whether a value stands in the file that the definition is in.
    fn home(&self, key: &str) -> bool {
        self.node.get(key).is_some_and(|value| value.span.file == self.file)
    }
}

/// Visits all sources that can be read as such, with the name of their definition and file; the others are reported when
/// a stage uses them.
fn for_each_source<E>(
    spec: &mut Spec,
    mut visit: impl FnMut(&str, &str, &mut Entry) -> Result<(), E>,
) -> Result<(), E> {
    for (name, definition) in spec.definitions.values_mut().flatten() {
        let file = definition.span.file;
        let Value::Table(definition) = &mut definition.value else { continue };
        let Some((_, Node { value: Value::Table(sources), .. })) = definition.get_mut("source") else { continue };
        for (source_name, (key, node)) in sources {
            if let Ok(source) = from_node::<Source>(node) {
                visit(name, source_name, &mut Entry { node, source, span: key.span, file })?;
            }
        }
    }
    Ok(())
}
