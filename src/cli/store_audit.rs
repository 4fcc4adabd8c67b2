//! The whole store read, with a bar on a terminal.

use super::live::{Live, bar};
use crate::{
    base::{error::Result, units::bytes},
    engine::key,
    store::{Audit, Store},
};

/// Reads the whole store, with a bar on a terminal.
///
/// # Errors
/// If it can't be read.
pub fn audit(store: &Store) -> Result<Audit> {
    let lines = |(done, total): &(u64, u64)| {
        vec![format!("verify {} {}/{}", bar(*done, *total, 32), bytes(*done), bytes(*total))]
    };
    let read = Live::new((0, 0), lines);
    store.audit(&key::describes, &|done, total| *read.state() = (done, total))
}
