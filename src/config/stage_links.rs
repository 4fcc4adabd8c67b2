//! Which stages need which others.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::{
    diagnostic::Diagnostic, diagnostic_sink::Sink, node::Span, specification::StageRef, stage::Stage, suggest::help_for,
};

/// What one stage needs of another.
pub(super) struct Edge {
    /// Index of the stage that needs.
    pub from: usize,
    /// Index of the stage that is needed.
    pub to: usize,
    pub span: Span,
}

/// Checks references to other stages and remembers them as edges.
pub(super) struct Links<'a> {
    pub stages: &'a IndexMap<&'a str, Stage<'a>>,
    /// Index of the stage whose references are checked.
    pub from: usize,
    pub seen: HashSet<usize>,
    pub edges: &'a mut Vec<Edge>,
}

impl Links<'_> {
    pub fn check(&mut self, reference: &StageRef, sink: &mut Sink) -> bool {
        let name = reference.stage.as_str();
        let Some((to, _, stage)) = self.stages.get_full(name) else {
            if sink.is_full() {
                return false;
            }
            let known: Vec<_> = self.stages.keys().copied().collect();
            sink.push(
                Diagnostic::new(format!("there is no stage `{name}`"))
                    .at(reference.span)
                    .help(help_for(name, &known, "stages")),
            );
            return false;
        };
        if self.seen.insert(to) {
            self.edges.push(Edge { from: self.from, to, span: reference.span });
        }
        let mut good = true;
        for (name, value) in &reference.constraints {
            let Some(axis) = stage.axes.iter().find(|axis| axis.name == *name) else {
                sink.push(
                    Diagnostic::new(format!("the stage `{}` has no axis `{name}`", stage.name))
                        .at(reference.span)
                        .help(help_for(name, &stage.axis_names(), "axes")),
                );
                good = false;
                continue;
            };
            // An axis without values has been reported already.
            if !axis.values.is_empty() && !axis.values.iter().any(|v| v.text == *value) {
                let known: Vec<_> = axis.values.iter().map(|v| v.text.as_str()).collect();
                sink.push(
                    Diagnostic::new(format!("the stage `{}` has no action for {name} `{value}`", stage.name))
                        .at(reference.span)
                        .help(help_for(value, &known, &format!("values of `{name}`"))),
                );
                good = false;
            }
        }
        good
    }
}
