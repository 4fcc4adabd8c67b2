//! References to stages, `stage` or `stage[axis=value,...]`, each part with holes.

use super::{
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    interpolation::Template,
    node::Span,
    specification::{InputSpec, StageRef},
    stage_links::Links,
    template_scope::Scope,
};

pub(super) struct InputTemplate {
    pub role: String,
    pub span: Span,
    pub stages: Vec<RefTemplate>,
}

impl InputTemplate {
    pub fn fill(&self, combination: &[usize], links: &mut Links, sink: &mut Sink) -> Option<InputSpec> {
        let mut stages = Vec::with_capacity(self.stages.len());
        self.stages.iter().for_each(|stage| stages.extend(stage.fill(combination, links, sink)));
        let complete = stages.len() == self.stages.len();
        complete.then(|| InputSpec { role: self.role.clone(), span: self.span, stages })
    }
}

/// `stage` or `stage[axis=value,...]`, each part with holes.
pub(super) struct RefTemplate {
    stage: Template,
    constraints: Vec<(String, Template)>,
    span: Span,
    /// The reference itself, where no part has a hole and all is well with it.
    fixed: Option<StageRef>,
}

impl RefTemplate {
    pub fn compile(text: &str, span: Span, scope: &Scope, sink: &mut Sink) -> Option<Self> {
        let bad = |sink: &mut Sink| {
            sink.push(
                Diagnostic::new(format!("`{text}` is no reference to a stage"))
                    .at(span)
                    .help("write `stage` or `stage[axis=value,axis=value]`"),
            );
        };
        let (stage, list) = match text.split_once('[') {
            Some((stage, rest)) => match rest.trim_end().strip_suffix(']') {
                Some(list) => (stage.trim(), list),
                None => {
                    bad(sink);
                    return None;
                }
            },
            None => (text.trim(), ""),
        };
        let mut constraints = Vec::new();
        for part in list.split(',').filter(|part| !(list.trim().is_empty() && part.trim().is_empty())) {
            let Some((axis, value)) = part.split_once('=') else {
                bad(sink);
                return None;
            };
            constraints.push((axis.trim().to_owned(), Template::compile_text(value.trim(), span, scope, sink)));
        }
        Some(Self { stage: Template::compile_text(stage, span, scope, sink), constraints, span, fixed: None })
    }

    pub fn fill(&self, combination: &[usize], links: &mut Links, sink: &mut Sink) -> Option<StageRef> {
        if let Some(fixed) = &self.fixed {
            return Some(fixed.clone());
        }
        let stage = self.stage.fill_text(combination, "the name of a stage", sink)?;
        let mut constraints = Vec::with_capacity(self.constraints.len());
        for (axis, value) in &self.constraints {
            constraints.push((axis.clone(), value.fill_text(combination, "the value of an axis", sink)?));
        }
        let stage = StageRef { stage, constraints, span: self.span };
        links.check(&stage, sink).then_some(stage)
    }

    /// Checks what a reference says without any axis value: once for all actions, and also where there are none.
    pub fn fix(&mut self, links: &mut Links, sink: &mut Sink) {
        let text = |template: &Template| match template {
            Template::Fixed(node) => node.scalar_text(),
            _ => None,
        };
        let Some(stage) = text(&self.stage) else { return };
        let fixed = |(axis, value): &(String, Template)| Some((axis.clone(), text(value)?));
        let constraints: Vec<_> = self.constraints.iter().filter_map(fixed).collect();
        let whole = constraints.len() == self.constraints.len();
        let reference = StageRef { stage, constraints, span: self.span };
        if links.check(&reference, sink) && whole {
            self.fixed = Some(reference);
        }
    }
}
