//! The same work on many things, side by side.

use rayon::prelude::*;

/// Fewer things aren't worth a second thread.
const FROM: usize = 500;

/// What `one` makes of each item, in their order.
pub fn map<T: Send, R: Send>(items: Vec<T>, one: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    if items.len() < FROM { items.into_iter().map(one).collect() } else { items.into_par_iter().map(one).collect() }
}
