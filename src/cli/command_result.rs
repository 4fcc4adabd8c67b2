//! How a command ends.

use crate::base::error::{Category, Error};

/// Why a command ended without success.
pub enum Failure {
    /// What is wrong with the pipeline file, rendered.
    Pipeline(String),
    Error(Error),
    /// Actions failed; the view has already said which.
    Actions,
    Interrupted,
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        if e.category == Category::Interrupted { Self::Interrupted } else { Self::Error(e) }
    }
}

/// Nothing, where all went well.
pub type CommandResult = Result<(), Failure>;
