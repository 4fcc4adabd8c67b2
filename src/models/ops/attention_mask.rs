//! Which tokens of a row attend to which.

use std::{ops::Range, sync::Arc};

use candle_core::{Layout, Result};

#[cfg(feature = "cuda")]
use super::cuda::attention_lists::Cached;
use super::heads::Heads;
use crate::models::token_tree::TokenTree;

/// Queries of a segment that are worked off together: few enough that little of the triangle above the diagonal is
/// computed in vain, enough for a matrix product.
const BLOCK: usize = 32;

/// Which tokens see which.
#[derive(Debug)]
pub struct AttentionMask {
    pub(super) blocks: Vec<Block>,
    pub(super) tokens: usize,
    /// The first token that asks.
    pub(super) from: usize,
    #[cfg(feature = "cuda")]
    pub(super) cuda: Cached,
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) queries: Range<usize>,
    /// Runs of tokens that are seen, in order. Where the block is causal, the last run ends with its last query.
    pub(super) seen: Vec<Range<usize>>,
    /// Tokens in `seen`.
    pub(super) keys: usize,
    /// A query doesn't see the queries after it.
    pub(super) causal: bool,
}

impl AttentionMask {
    /// Queries are the tokens of `tree` at `from` and later.
    pub fn new(tree: &TokenTree, from: usize) -> Arc<Self> {
        let mut blocks = Vec::new();
        for segment in tree.segments() {
            let end = segment.start + segment.len;
            let mut start = segment.start.max(from);
            if start >= end {
                continue;
            }
            let mut ancestors = Vec::new();
            let mut above = segment.parent;
            while let Some(parent) = above {
                let parent = tree.segments()[parent];
                ancestors.push(parent.start..parent.start + parent.len);
                above = parent.parent;
            }
            ancestors.reverse();
            while start < end {
                let stop = (start + BLOCK).min(end);
                let mut seen = ancestors.clone();
                seen.push(segment.start..stop);
                let keys = seen.iter().map(ExactSizeIterator::len).sum();
                blocks.push(Block { queries: start..stop, seen, keys, causal: true });
                start = stop;
            }
        }
        Self::of(blocks, tree, from)
    }

    fn of(blocks: Vec<Block>, tree: &TokenTree, from: usize) -> Arc<Self> {
        Arc::new(Self {
            blocks,
            tokens: tree.len(),
            from,
            #[cfg(feature = "cuda")]
            cuda: Default::default(),
        })
    }

    /// Every token of a segment sees all of its segment, and nothing else.
    pub fn two_sided(tree: &TokenTree) -> Arc<Self> {
        Self::of_segments(tree, usize::MAX)
    }

    /// As [`AttentionMask::two_sided`], for the first token of each segment alone. Other rows of the result are zero.
    pub fn first_of_each(tree: &TokenTree) -> Arc<Self> {
        Self::of_segments(tree, 1)
    }

    /// The first `asking` tokens of each segment see all of it.
    fn of_segments(tree: &TokenTree, asking: usize) -> Arc<Self> {
        let blocks = tree.segments().iter().flat_map(|segment| {
            let (start, len) = (segment.start, segment.len);
            let end = start + len.min(asking);
            (start..end).step_by(BLOCK).map(move |from| Block {
                queries: from..(from + BLOCK).min(end),
                seen: std::iter::once(start..start + len).collect(),
                keys: len,
                causal: false,
            })
        });
        Self::of(blocks.collect(), tree, 0)
    }

    /// The length of the prefix, where the operands have the shapes that they should: `qkv`
    /// `[tokens, queries | keys | values]`, `prefix` `[2, virtual_tokens, keys * dim]`.
    ///
    /// # Errors
    /// If one has another, with both shapes.
    pub(super) fn check(&self, heads: Heads, qkv: &Layout, prefix: &Layout) -> Result<usize> {
        if qkv.dims() != [self.tokens, heads.row()] {
            candle_core::bail!("attention: {:?} isn't [{}, {}]", qkv.dims(), self.tokens, heads.row())
        }
        match prefix.dims() {
            [2, tokens, width] if *width == heads.keys * heads.dim => Ok(*tokens),
            other => candle_core::bail!("attention: {other:?} isn't a prefix [2, tokens, {}]", heads.keys * heads.dim),
        }
    }
}
