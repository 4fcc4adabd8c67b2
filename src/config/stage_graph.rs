//! How stages hang together: circles, and references that no action answers.

use std::collections::{HashMap, HashSet, VecDeque};

use petgraph::graph::{DiGraph, NodeIndex};

use super::{
    diagnostic::Diagnostic, diagnostic_sink::Sink, source_map::SourceMap, specification::StageSpec, stage_links::Edge,
};

/// Stages of a circle that are spelled out.
const SHOWN: usize = 8;

/// Reports every group of stages that need each other, with one circle spelled out.
pub(super) fn report_cycles(names: &[&str], edges: &[Edge], sources: &SourceMap, sink: &mut Sink) {
    let mut graph = DiGraph::<(), ()>::new();
    names.iter().for_each(|_| {
        graph.add_node(());
    });
    let mut from: Vec<Vec<&Edge>> = vec![Vec::new(); names.len()];
    for edge in edges {
        graph.add_edge(NodeIndex::new(edge.from), NodeIndex::new(edge.to), ());
        from[edge.from].push(edge);
    }
    // Without recursion: a chain of stages may be very long.
    for group in petgraph::algo::kosaraju_scc(&graph) {
        let Some(start) = group.iter().map(|n| n.index()).min().filter(|_| !sink.is_full()) else { continue };
        // Almost every stage is a group of its own, through which no circle leads unless it needs itself.
        if group.len() == 1 && from[start].iter().all(|edge| edge.to != start) {
            continue;
        }
        let Some(circle) = circle_through(start, &from) else { continue };
        let mut chain: Vec<_> = circle.iter().take(SHOWN).map(|edge| names[edge.from]).collect();
        if circle.len() > SHOWN {
            chain.push("...");
        }
        chain.push(names[start]);
        let steps = circle
            .iter()
            .take(SHOWN)
            .map(|edge| format!("`{}` needs `{}` at {}", names[edge.from], names[edge.to], sources.place(edge.span)));
        sink.push(
            Diagnostic::new(format!("stages need each other in a circle: {}", chain.join(" -> ")))
                .at(circle[0].span)
                .label(format!("`{}` needs `{}` here", names[start], names[circle[0].to]))
                .help(format!("take one of these away: {}", steps.collect::<Vec<_>>().join("; "))),
        );
    }
}

/// The shortest way from `start` back to itself, by the edges that begin at each stage.
fn circle_through<'a>(start: usize, from: &[Vec<&'a Edge>]) -> Option<Vec<&'a Edge>> {
    let mut reached: HashMap<usize, &Edge> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(here) = queue.pop_front() {
        for &edge in &from[here] {
            if edge.to == start {
                let mut circle = vec![edge];
                let mut at = here;
                while at != start {
                    let step = reached[&at];
                    circle.push(step);
                    at = step.from;
                }
                circle.reverse();
                return Some(circle);
            }
            if let std::collections::hash_map::Entry::Vacant(slot) = reached.entry(edge.to) {
                slot.insert(edge);
                queue.push_back(edge.to);
            }
        }
    }
    None
}

/// Reports references that agree with no action: the axes match, but that combination isn't there.
pub(super) fn report_unanswered(stages: &[StageSpec], sink: &mut Sink) {
    let by_name: HashMap<&str, usize> = stages.iter().enumerate().map(|(i, s)| (s.name.as_str(), i)).collect();
    // The combinations there are on some axes of a stage.
    let mut offers: HashMap<(usize, Vec<bool>), HashSet<Vec<&str>>> = HashMap::new();
    let mut reported = HashSet::new();
    for stage in stages {
        for action in &stage.actions {
            for reference in action.inputs.iter().flat_map(|input| &input.stages) {
                let Some(&to) = by_name.get(reference.stage.as_str()) else { continue };
                let Some(first) = stages[to].actions.first() else { continue };
                let wanted: Vec<Option<&str>> = first
                    .axes
                    .iter()
                    .map(|(axis, _)| {
                        let given = reference.constraints.iter().chain(&action.axes);
                        given.into_iter().find(|(name, _)| name == axis).map(|(_, value)| value.as_str())
                    })
                    .collect();
                let fixed: Vec<bool> = wanted.iter().map(Option::is_some).collect();
                let offer = offers.entry((to, fixed)).or_insert_with_key(|(to, fixed)| {
                    let kept: Vec<_> = (0..fixed.len()).filter(|&i| fixed[i]).collect();
                    stages[*to].actions.iter().map(|a| kept.iter().map(|&i| a.axes[i].1.as_str()).collect()).collect()
                });
                let values: Vec<&str> = wanted.iter().filter_map(|v| *v).collect();
                // One example for each reference is enough to act on.
                if !offer.contains(&values) && reported.insert(reference.span) {
                    let named = first
                        .axes
                        .iter()
                        .zip(&wanted)
                        .filter_map(|((axis, _), value)| value.map(|value| format!("{axis}={value}")));
                    sink.push(
                        Diagnostic::new(format!(
                            "`{}` needs `{}[{}]`, which isn't there",
                            stage.name,
                            reference.stage,
                            named.collect::<Vec<_>>().join(",")
                        ))
                        .at(reference.span)
                        .help("axes that two stages share must agree: widen the matrix of the one, or exclude from the other"),
                    );
                }
            }
        }
    }
}
