//! Which smaller setting would fit.

use super::{model_shape::ModelShape, row::Parts};
use crate::models::Dtype;

/// The largest of `candidates`, which become smaller, for which `need` stays within `budget`.
pub(super) fn first_that_fits(
    candidates: impl Iterator<Item = usize>,
    budget: u64,
    need: impl Fn(usize) -> Parts,
) -> Option<usize> {
    candidates.into_iter().find(|c| need(*c).total() <= budget)
}

pub(super) fn halves(from: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(from / 2), |n| Some(n / 2)).take_while(|n| *n > 0)
}

/// Weights in half the bytes, where they aren't and that suffices.
pub(super) fn half_precision(
    shape: &ModelShape,
    model: &str,
    budget: u64,
    need: impl Fn(&ModelShape) -> Parts,
) -> Option<String> {
    let mut smaller = shape.clone();
    smaller.dtype = Dtype::Bf16;
    (shape.dtype == Dtype::F32 && need(&smaller).total() <= budget).then(|| format!("model.{model}.dtype=bf16"))
}
