//! What comes of asking a remote store for a result, and of sending it one.

use crate::store::ActionResult;

/// What came of asking the remote for a result.
#[derive(Debug)]
pub enum Pulled {
    /// It is in the store now. Bytes that were fetched.
    Found {
        result: ActionResult,
        bytes: u64,
    },
    Absent,
    /// There is something under its name that isn't it; says what.
    Damaged(String),
    /// Not asked, because the remote has failed too often.
    GivenUp,
}

/// What came of sending a result.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed {
    Sent {
        /// Of the blobs that were sent.
        bytes: u64,
    },
    /// The remote had it.
    Present,
    /// The remote has another result under this key, which stays.
    Differs,
}
