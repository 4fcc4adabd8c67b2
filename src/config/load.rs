//! From a path to a [`Spec`]: the order in which the parts of this layer do their work.

use std::{path::Path, sync::Arc};

use indexmap::IndexMap;

use super::{
    definitions::take_definitions,
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    expansion::Expander,
    from_node::from_node,
    kind_vocabulary::Vocabulary,
    load_options::LoadOptions,
    matrix::Lists,
    merged_file::merged,
    node::{Node, Span, Table, Value},
    pipeline::PipelineTable,
    remote_config::RemoteConfig,
    remote_table::read_remote,
    source_files::tidy,
    source_map::SourceMap,
    specification::{Pipeline, Spec},
    stage::Stage,
    stage_graph::{report_cycles, report_unanswered},
    suggest::help_for,
    top_level::Layout,
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
    let mut sink = Sink::default();
    let layout = Layout::new(vocabulary);
    let mut profiles = Vec::new();
    let mut remote = RemoteConfig::default();
    let tracked_fs = Arc::new(TrackedFs::default());
    let mut sources = SourceMap::in_folder(tracked_fs.working_folder());
    let spec = merged(path, options, &layout, &tracked_fs, &mut profiles, &mut sources, &mut sink).map(
        |(mut root, profile)| {
            if let Some((_, node)) = root.shift_remove("remote") {
                remote = read_remote(&node, &tracked_fs, &mut sources, &mut sink);
            }
            specify(path, root, profile, vocabulary, tracked_fs.clone(), &sources, &mut sink)
        },
    );
    let (diagnostics, more) = sink.finish();
    Loaded { spec, remote, sources, diagnostics, more, profiles }
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
    let pipeline = pipeline.unwrap_or_else(|diagnostics| {
        sink.extend(diagnostics);
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
