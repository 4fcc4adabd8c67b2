//! Backbones, adapters, kernels and weight files.
//!
//! A backbone reads a [`TokenTree`]: many sequences packed into one row, where a sequence may continue a shared one. The
//! instruction that all samples of a batch share is computed once, and so is the sentence that candidate labels branch off.

mod tree;

pub use tree::{Segment, TokenTree};
