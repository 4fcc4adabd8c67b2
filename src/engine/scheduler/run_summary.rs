//! How a run ended.

use std::time::Duration;

use crate::base::{digest::Digest, error::Error};

#[derive(Debug)]
pub struct Summary {
    pub run: String,
    pub ran: usize,
    pub reused: usize,
    pub failed: Vec<(String, Error)>,
    pub skipped: usize,
    /// Actions whose check gave other bytes, and the first file that differs.
    pub differing: Vec<(String, String)>,
    pub interrupted: bool,
    pub elapsed: Duration,
    pub remote: RemoteSummary,
    /// The keys of all actions of the plan, if the store had a result for each.
    pub found: Option<Vec<Digest>>,
}

/// What a run had to do with its remote store.
#[derive(Debug, Default)]
pub struct RemoteSummary {
    /// Results, all of which count as reused, and bytes.
    pub pulled: (usize, u64),
    /// Results and bytes.
    pub pushed: (usize, u64),
    /// What the remote hasn't got, and why.
    pub unpushed: Vec<(String, Error)>,
}

/// What is counted while a run goes on.
#[derive(Debug, Default)]
pub struct Tally {
    pub ran: usize,
    pub reused: usize,
    pub failed: Vec<(String, Error)>,
    pub skipped: usize,
    pub differing: Vec<(String, String)>,
}
