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

/// What the program ends with; each line a code and, two blanks after it, its meaning.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    something failed, or what was to be printed couldn't be
  2    wrong usage, or problems in the pipeline
  130  interrupted";

/// Nothing, where all went well.
pub type CommandResult = Result<(), Failure>;
