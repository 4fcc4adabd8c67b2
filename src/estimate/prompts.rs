//! Where an action's tokens come from, and the lengths that this tells while the tokens aren't there.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    lengths::{ANSWER, Lengths, USUAL_ANSWER},
    model_shape::ModelShape,
};
use crate::{
    base::error::{Error, Result},
    config::{ActionSpec, Spec},
    engine::Artifact,
};

/// Artifacts by role.
pub(super) type Inputs = BTreeMap<String, Vec<Artifact>>;

/// The most that any action of the stage behind the input `tokens` allows by `limit`.
fn most(spec: &Spec, action: &ActionSpec, limit: impl Fn(&ActionSpec) -> Option<i64>) -> Option<usize> {
    let stage = &action.inputs.iter().find(|i| i.role == "tokens")?.stages.first()?.stage;
    let limits = spec.stage(stage)?.actions.iter().map(|a| usize::try_from(limit(a)?).ok());
    limits.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Where an action's tokens come from, as far as that is known.
#[derive(Debug, Clone)]
pub struct Prompts {
    pub split: String,
    /// The longest that is allowed.
    pub max_tokens: Option<usize>,
    /// The most examples that the task allows.
    pub examples: Option<usize>,
}

impl Prompts {
    /// Of the stage behind the input `tokens` of an action.
    pub fn of(spec: &Spec, action: &ActionSpec, split: &str) -> Self {
        let examples = |tokens: &ActionSpec| {
            let task = spec.definition("task", tokens.params.get("task")?.as_str()?, None).ok()?;
            task.get("limit")?.get(split)?.as_int()
        };
        Self {
            split: split.to_owned(),
            max_tokens: most(spec, action, |tokens| tokens.params.get("max_tokens")?.as_int()),
            examples: most(spec, action, examples),
        }
    }

    /// Lengths as they may well be: those of the data, or prompts half as long as they may be. `enough` says how many make
    /// no difference to more.
    ///
    /// # Errors
    /// If nobody knows how many there are.
    pub fn usual_lengths(&self, inputs: &Inputs, shape: &ModelShape, enough: Option<usize>) -> Result<Arc<Lengths>> {
        if inputs.get("tokens").is_some_and(|list| !list.is_empty()) {
            return Ok(self.lengths(inputs, shape)?.0);
        }
        let examples =
            self.examples.or(enough).ok_or_else(|| Error::internal("nobody knows how many examples there are"))?;
        let prompt = self.max_tokens.unwrap_or(shape.dims.max_positions) / 2;
        Ok(Arc::new(Lengths {
            shared: 0,
            own: vec![(prompt, USUAL_ANSWER); examples],
            answers: ANSWER,
            longest_answer: ANSWER,
        }))
    }

    /// Lengths, and whether they are those of the data.
    ///
    /// # Errors
    /// As [`Lengths::read`].
    pub fn lengths(&self, inputs: &Inputs, shape: &ModelShape) -> Result<(Arc<Lengths>, bool)> {
        match inputs.get("tokens").and_then(|list| list.first()) {
            Some(tokens) => Ok((Lengths::read(tokens, &self.split)?, true)),
            None => Ok((Arc::new(Lengths::bound(self.max_tokens.unwrap_or(shape.dims.max_positions))), false)),
        }
    }
}
