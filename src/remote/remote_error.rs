//! Why something of a remote store can't be had.

use crate::base::error::Error;

/// Why something of the remote can't be had.
#[derive(Debug)]
pub(super) enum RemoteError {
    Absent,
    /// It isn't what its name says.
    Damaged(String),
    Failed(Error),
}

impl From<Error> for RemoteError {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}
