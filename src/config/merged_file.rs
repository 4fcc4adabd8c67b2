//! One table of a pipeline file, its includes, the chosen profile and `--set`.

use std::path::Path;

use super::{
    definitions::take_definitions,
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    load_options::LoadOptions,
    merge::overlay,
    node::{Node, Table, Value},
    pipeline::{PROFILE_KEYS, lineage},
    source_files::Files,
    source_map::SourceMap,
    top_level::{Layout, named_table},
    trust::report_untrusted,
    value_overrides::set,
};
use crate::base::tracked_fs::TrackedFs;

/// The root table after includes, profile and `--set`, with the name of the profile; `None` where no more can be said.
pub(super) fn merged(
    path: &Path,
    options: &LoadOptions,
    layout: &Layout,
    tracked_fs: &TrackedFs,
    names: &mut Vec<String>,
    sources: &mut SourceMap,
    sink: &mut Sink,
) -> Option<(Table, Option<String>)> {
    let is_named = |name: &str| layout.is_named(name);
    let known = |name: &str| ["include", "profile"].contains(&name) || layout.tables().contains(&name);
    let mut files = Files {
        tracked_fs,
        sources,
        sink,
        broken: Default::default(),
        trusted: Default::default(),
        named: &is_named,
        known: &known,
        bytes: 0,
    };
    let mut root = files.read(path)?;
    layout.prune(&mut root, &["profile"], files.sink);
    let profiles = take_profiles(&mut root, layout, files.sink);
    names.extend(profiles.iter().flat_map(|table| table.keys().cloned()));

    let default = root.get("pipeline").and_then(|(_, pipeline)| pipeline.get("default_profile"));
    let chosen = match &options.profile {
        Some(name) => Some((name.clone(), None)),
        // A default of the wrong type is reported with the rest of `[pipeline]`.
        None => default.and_then(|node| Some((node.as_str()?.to_owned(), Some(node.span)))),
    };
    if let Some((name, span)) = &chosen {
        for (_, profile) in lineage(profiles.as_ref(), name, *span, files.sink) {
            if let Some(include) = profile.get("include") {
                let mut table = files.read_overlay(include);
                layout.prune(&mut table, &[], files.sink);
                overlay(&mut root, table);
            }
            let own = profile.as_table().into_iter().flatten().filter(|(key, _)| !PROFILE_KEYS.contains(&key.as_str()));
            overlay(&mut root, own.map(|(name, entry)| (name.clone(), entry.clone())).collect());
        }
        if options.profile.is_some() && !profiles.as_ref().is_some_and(|p| p.contains_key(name)) {
            // What a profile would have filled in is no mistake of the file.
            return None;
        }
    }
    let Files { broken, trusted, .. } = files;
    report_untrusted(&root, &trusted, &layout.vocabulary.stage_kinds, sources, sink);
    if !broken.is_empty() {
        // References into a file that could be read in part only can't be judged; what stands alone in others can.
        let (definitions, _) = take_definitions(&mut root, layout.vocabulary);
        for (entry, names) in layout.vocabulary.definitions.iter().zip(definitions.values()) {
            for node in names.values().filter(|node| !touches(node, &broken)) {
                sink.extend((entry.check)(node));
            }
        }
        return None;
    }
    set(&mut root, &options.set, layout, sources, sink);
    Some((root, chosen.map(|(name, _)| name)))
}

fn touches(node: &Node, files: &std::collections::HashSet<u32>) -> bool {
    files.contains(&node.span.file)
        || match &node.value {
            Value::Table(table) => table.values().any(|(_, child)| touches(child, files)),
            Value::Array(items) => items.iter().any(|child| touches(child, files)),
            _ => false,
        }
}

/// Takes the profiles out of the root and checks their shape, whether they are used or not.
fn take_profiles(root: &mut Table, layout: &Layout, sink: &mut Sink) -> Option<Table> {
    let (_, node) = root.shift_remove("profile")?;
    let kind = node.kind_name();
    let Value::Table(mut profiles) = node.value else {
        sink.push(
            Diagnostic::new(format!("`profile` must be a table, not {kind}"))
                .at(node.span)
                .help("write `[profile.NAME]`"),
        );
        return None;
    };
    profiles.retain(|name, (key, node)| {
        if !named_table("profile", name, key, node, sink) {
            return false;
        }
        if let Value::Table(table) = &mut node.value {
            layout.prune(table, &PROFILE_KEYS, sink);
            if let Some((_, text)) = table.get("description").filter(|(_, text)| text.as_str().is_none()) {
                sink.push(
                    Diagnostic::new(format!("`description` must be a string, not {}", text.kind_name())).at(text.span),
                );
            }
        }
        true
    });
    Some(profiles)
}
