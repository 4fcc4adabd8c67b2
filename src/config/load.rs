//! From a path to a [`Spec`]: the order in which the parts of this layer do their work.

use std::{path::Path, sync::Arc};

use indexmap::IndexMap;

use super::{
    Diagnostic, Key, LoadOptions, Node, Pipeline, RemoteConfig, SourceMap, Span, Spec, Table, Value, Vocabulary,
    de::from_node,
    diagnostic::Sink,
    matrix::{Definitions, Lists, NAME_HELP, valid_name},
    merge::overlay,
    parse::parse_value,
    pipeline::{PROFILE_KEYS, PipelineTable, lineage},
    remote_table,
    source_files::{Files, tidy},
    stage::{Expander, Stage},
    stage_graph::{report_cycles, report_unanswered},
    suggest::help_for,
    trust::report_untrusted,
};
use crate::base::tracked_fs::TrackedFs;

/// A pipeline file, as far as it could be understood, and everything that is wrong with it.
#[derive(Debug)]
pub struct Loaded {
    /// There unless the files could not be read at all. Complete only without diagnostics.
    pub spec: Option<Spec>,
    /// The `[remote]` table: beside the specification, since it changes where results lie and never what they are.
    pub remote: RemoteConfig,
    pub sources: SourceMap,
    pub diagnostics: Vec<Diagnostic>,
    /// Problems beyond those, where there are very many.
    pub more: usize,
    /// Names of the file's profiles, in its order.
    pub profiles: Vec<String>,
}

/// Reads the pipeline file at `path` and all that it includes, applies the profile and `--set`, and expands it.
///
/// All problems of all files are reported together; nothing is written and nothing is run.
pub fn load(path: &Path, options: &LoadOptions, vocabulary: &Vocabulary) -> Loaded {
    let mut sources = SourceMap::default();
    let mut sink = Sink::default();
    let layout = Layout::new(vocabulary);
    let mut profiles = Vec::new();
    let mut remote = RemoteConfig::default();
    let tracked_fs = Arc::new(TrackedFs::default());
    let spec = merged(path, options, &layout, &tracked_fs, &mut profiles, &mut sources, &mut sink).map(
        |(mut root, profile)| {
            if let Some((_, node)) = root.shift_remove("remote") {
                remote = remote_table::read(&node, &tracked_fs, &mut sources, &mut sink);
            }
            specify(path, root, profile, vocabulary, tracked_fs.clone(), &sources, &mut sink)
        },
    );
    let (diagnostics, more) = sink.finish();
    Loaded { spec, remote, sources, diagnostics, more, profiles }
}

/// The top-level tables that there can be.
struct Layout<'a> {
    vocabulary: &'a Vocabulary,
    kinds: Vec<&'static str>,
}

/// Top-level tables besides those of definitions.
pub(super) const TABLES: [&str; 5] = ["pipeline", "axes", "params", "stages", "remote"];

impl<'a> Layout<'a> {
    fn new(vocabulary: &'a Vocabulary) -> Self {
        Self { vocabulary, kinds: vocabulary.definitions.iter().map(|entry| entry.name).collect() }
    }

    /// Whether the table holds named things.
    fn is_named(&self, table: &str) -> bool {
        table == "stages" || self.kinds.contains(&table)
    }

    fn tables(&self) -> Vec<&'static str> {
        TABLES.into_iter().chain(self.kinds.iter().copied()).collect()
    }

    /// Takes out of `table` what can't stand there, and says so. `extra` are further keys, which are left alone.
    fn prune(&self, table: &mut Table, extra: &[&str], sink: &mut Sink) {
        let known: Vec<_> = self.tables().into_iter().chain(extra.iter().copied()).collect();
        table.retain(|name, (key, node)| {
            if extra.contains(&name.as_str()) {
                return true;
            }
            if !known.contains(&name.as_str()) {
                sink.push(
                    Diagnostic::new(format!("unknown table `{name}`"))
                        .at(key.span)
                        .help(help_for(name, &known, "tables")),
                );
                return false;
            }
            let span = node.span;
            match &mut node.value {
                Value::Table(entries) if self.is_named(name) => {
                    entries.retain(|entry, (key, node)| named_table(name, entry, key, node, sink));
                    true
                }
                Value::Table(_) => true,
                _ => {
                    sink.push(
                        Diagnostic::new(format!("`{name}` must be a table, not {}", node.kind_name())).at(span).help(
                            if self.is_named(name) {
                                format!("write `[{name}.NAME]`")
                            } else {
                                format!("write `[{name}]`")
                            },
                        ),
                    );
                    false
                }
            }
        });
    }
}

fn named_table(table: &str, name: &str, key: &Key, node: &Node, sink: &mut Sink) -> bool {
    if node.as_table().is_none() {
        sink.push(
            Diagnostic::new(format!("`{table}.{name}` must be a table, not {}", node.kind_name()))
                .at(node.span)
                .help(format!("write `[{table}.{name}]`")),
        );
    } else if !valid_name(name) {
        sink.push(Diagnostic::new(format!("`{name}` can't be a name")).at(key.span).help(NAME_HELP));
    } else {
        return true;
    }
    false
}

/// The root table after includes, profile and `--set`, with the name of the profile; `None` where no more can be said.
fn merged(
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

/// Keys in a path of `--set`.
const DEEPEST: usize = 64;

/// Lays the values of `--set` over everything else.
fn set(root: &mut Table, settings: &[(String, String)], layout: &Layout, sources: &mut SourceMap, sink: &mut Sink) {
    if settings.is_empty() {
        return;
    }
    let lines: Vec<_> = settings.iter().map(|(path, value)| format!("{path}={value}")).collect();
    let file = sources.add("--set".into(), lines.join("\n"));
    let mut start = 0;
    for ((path, value), line) in settings.iter().zip(&lines) {
        let key_span = Span { file, start: start as u32, end: (start + path.len()) as u32 };
        let value_start = start + path.len() + 1;
        let value_span = Span { file, start: value_start as u32, end: (start + line.len()) as u32 };
        start += line.len() + 1;
        let Ok(keys) = toml_edit::Key::parse(path) else {
            sink.push(
                Diagnostic::new(format!("`{path}` is no path of keys"))
                    .at(key_span)
                    .help("write `--set table.key=value`"),
            );
            continue;
        };
        let keys: Vec<_> = keys.iter().map(toml_edit::Key::get).collect();
        if keys.len() > DEEPEST {
            sink.push(Diagnostic::new(format!("a path of more than {DEEPEST} keys leads nowhere")).at(key_span));
            continue;
        }
        if let Err(diagnostic) = settable(root, &keys, layout) {
            sink.push(diagnostic.at(key_span));
            continue;
        }
        let node =
            parse_value(file, value_start, value).unwrap_or_else(|| Node::new(value_span, Value::Str(value.clone())));
        let wrap = |node: Node, key: &&str| {
            let entry = (Key { span: key_span }, node);
            Node::new(key_span, Value::Table(Table::from_iter([((*key).to_owned(), entry)])))
        };
        if let Value::Table(mut table) = keys.iter().rev().fold(node, wrap).value {
            layout.prune(&mut table, &[], sink);
            overlay(root, table);
        }
    }
}

/// Whether there is something at a path of `--set` that a value can change.
fn settable(root: &Table, keys: &[&str], layout: &Layout) -> Result<(), Diagnostic> {
    if keys == ["pipeline", "default_profile"] {
        return Err(Diagnostic::new("the profile is chosen before values are set").help("use `--profile NAME`"));
    }
    let (Some(table), Some(name)) = (keys.first(), keys.get(1)) else {
        return Err(Diagnostic::new("a path of at least two keys is needed").help("write `--set table.key=value`"));
    };
    let tables = layout.tables();
    if !tables.contains(table) {
        return Err(Diagnostic::new(format!("unknown table `{table}`")).help(help_for(table, &tables, "tables")));
    }
    if layout.is_named(table) {
        let entries = root.get(*table).and_then(|(_, node)| node.as_table());
        if !entries.is_some_and(|entries| entries.contains_key(*name)) {
            let known: Vec<_> = entries.into_iter().flat_map(|e| e.keys().map(String::as_str)).collect();
            return Err(Diagnostic::new(format!("there is no `{table}.{name}`")).help(help_for(name, &known, "names")));
        }
    }
    Ok(())
}

/// Takes the definition tables out of the root: one for each kind of the vocabulary, in its order, and the `[params]`.
fn take_definitions(root: &mut Table, vocabulary: &Vocabulary) -> (Definitions, Option<Node>) {
    let definitions = vocabulary.definitions.iter().map(|entry| {
        let table = match root.shift_remove(entry.name).map(|(_, node)| node.value) {
            Some(Value::Table(table)) => table,
            _ => Table::new(),
        };
        (entry.name.to_owned(), table.into_iter().map(|(name, (_, node))| (name, node)).collect())
    });
    let definitions = definitions.collect();
    (definitions, root.shift_remove("params").map(|(_, node)| node))
}

/// The specification that a merged root table stands for.
fn specify(
    path: &Path,
    mut root: Table,
    profile: Option<String>,
    vocabulary: &Vocabulary,
    tracked_fs: Arc<TrackedFs>,
    sources: &SourceMap,
    sink: &mut Sink,
) -> Spec {
    let (definitions, params) = take_definitions(&mut root, vocabulary);
    for (entry, names) in vocabulary.definitions.iter().zip(definitions.values()) {
        names.values().for_each(|node| sink.extend((entry.check)(node)));
    }

    let pipeline_node = root.get("pipeline").map(|(_, node)| node);
    let pipeline = pipeline_node.map_or_else(|| Ok(PipelineTable::default()), from_node::<PipelineTable>);
    // Seeds and goals are taken from the tree, so that what depends on them is checked whatever else is wrong.
    let pipeline = pipeline.unwrap_or_else(|problems| {
        sink.extend(problems);
        PipelineTable::default()
    });
    let zero = [Node::new(pipeline_node.map_or_else(Span::default, |node| node.span), Value::Int(0))];
    let seeds = pipeline_node.and_then(|node| node.get("seeds")?.as_array()).unwrap_or(&zero);
    let axes = root.get("axes").and_then(|(_, node)| node.as_table());
    let lists = Lists::new(axes, seeds, &definitions, sink);

    let tables = root.get("stages").and_then(|(_, node)| node.as_table());
    let stages: IndexMap<&str, Stage> = tables
        .into_iter()
        .flatten()
        .filter_map(|(name, (_, node))| Some((name.as_str(), Stage::new(name, node, node.as_table()?, &lists, sink))))
        .collect();
    let expander = Expander {
        stages: &stages,
        kinds: &vocabulary.stage_kinds,
        params: params.as_ref(),
        definitions: &definitions,
        sources,
    };
    let mut edges = Vec::new();
    let expanded: Vec<_> = (0..stages.len()).filter_map(|index| expander.expand(index, &mut edges, sink)).collect();

    let names: Vec<_> = stages.keys().copied().collect();
    if names.is_empty() {
        sink.push(Diagnostic::new(format!("{} has no stages", path.display())).help("add a table `[stages.NAME]`"));
    }
    report_cycles(&names, &edges, sources, sink);
    let goals = pipeline_node.and_then(|node| node.get("goals")?.as_array()).unwrap_or_default();
    let goals: Vec<_> = goals.iter().filter_map(|goal| Some((goal.as_str()?, goal.span))).collect();
    for (goal, span) in goals.iter().filter(|(goal, _)| !stages.contains_key(goal)) {
        sink.push(
            Diagnostic::new(format!("the goal `{goal}` is no stage")).at(*span).help(help_for(goal, &names, "stages")),
        );
    }
    if sink.is_empty() {
        report_unanswered(&expanded, sink);
    }

    let root_written_in = pipeline.root.as_ref().and_then(|root| root.span).and_then(|span| sources.path(span));
    let dir = root_written_in.unwrap_or(path).parent().unwrap_or(Path::new(""));
    let stem = || path.file_stem().map_or_else(|| "pipeline".into(), |stem| stem.to_string_lossy().into_owned());
    Spec {
        pipeline: Pipeline {
            name: pipeline.name.unwrap_or_else(stem),
            description: pipeline.description,
            root: tidy(&dir.join(pipeline.root.as_ref().map_or(".", |root| root.as_str())), &tracked_fs),
            seeds: seeds.iter().filter_map(Node::as_int).collect(),
            goals: goals.iter().map(|(goal, _)| (*goal).to_owned()).collect(),
        },
        profile,
        definitions,
        stages: expanded,
        tracked_fs,
    }
}

impl Spec {
    /// The definition `name` of a kind.
    ///
    /// # Errors
    /// If there is none; the diagnostic points at `span`, where the name was used, and suggests the nearest name.
    pub fn definition(&self, kind: &str, name: &str, span: Option<Span>) -> Result<&Node, Diagnostic> {
        let names = self.definitions.get(kind);
        names.and_then(|names| names.get(name)).ok_or_else(|| {
            let known: Vec<_> = names.into_iter().flat_map(|names| names.keys().map(String::as_str)).collect();
            Diagnostic::new(format!("there is no {kind} `{name}`")).at(span).help(help_for(
                name,
                &known,
                &format!("names of `{kind}`"),
            ))
        })
    }

    /// The stage called `name`.
    pub fn stage(&self, name: &str) -> Option<&super::StageSpec> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}
