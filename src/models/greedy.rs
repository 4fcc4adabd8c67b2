//! Greedy continuation.

use super::{adapters::Adapter, backbone::Backbone, kv_cache::KvCache, token_tree::TokenTree};
use crate::base::error::Result;

/// Continues each leaf of `tree` by the tokens that `choose` takes from its logits until one of `stop` (not returned), `longest` tokens, or the end
/// of the model's context.
///
/// `leaves` are segments of `tree`; results are in their order. `choose` gets a leaf's index and its next token's logits,
/// `[vocab]`.
///
/// # Errors
/// Those of the backbone and of `choose`.
pub fn greedy(
    backbone: &dyn Backbone,
    adapter: &dyn Adapter,
    mut tree: TokenTree,
    leaves: &[usize],
    stop: &[u32],
    longest: usize,
    choose: impl Fn(usize, &[f32]) -> Result<u32>,
) -> Result<Vec<Vec<u32>>> {
    let context = backbone.dims().max_positions;
    let mut cache = KvCache::new(tree.len() + leaves.len() * longest.min(context));
    let mut written = vec![Vec::new(); leaves.len()];
    // Index into `written`, and the segment that ends in the last known token.
    let mut open: Vec<(usize, usize)> = leaves.iter().copied().enumerate().collect();
    for _ in 0..longest {
        if open.is_empty() {
            break;
        }
        let from = cache.len();
        let hidden = backbone.extend(&tree, adapter, &mut cache)?;
        let rows: Vec<u32> = open.iter().map(|(_, segment)| (tree.last(*segment) - from) as u32).collect();
        let logits = backbone.logits(&hidden, &rows)?.to_vec2::<f32>()?;
        let mut next = Vec::with_capacity(open.len());
        for ((i, segment), logits) in open.into_iter().zip(logits) {
            let token = choose(i, &logits)?;
            if !stop.contains(&token) {
                written[i].push(token);
                let segment = tree.push(Some(segment), &[token]);
                if tree.depth(segment) < context {
                    next.push((i, segment));
                }
            }
        }
        open = next;
    }
    Ok(written)
}

/// The first of the largest of `[vocab]` logits, where all are numbers.
pub fn most_likely(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, value) in logits.iter().enumerate() {
        if *value > logits[best] {
            best = i;
        }
    }
    best as u32
}
