//! Which prompts are computed together.

use std::ops::Range;

use crate::models::TokenTree;

/// Most tokens in one packed row, unless a single example is longer. Bounds memory; in a row of this size the shared
/// instruction is a few percent of the work.
pub const TOKEN_BUDGET: usize = 1024;

/// Consecutive prompts that fit into a row of `budget` tokens, with `answer_tokens` behind each; `shared` tokens at their
/// beginning are common to all and stand there once.
pub fn groups(prompts: &[&[u32]], shared: usize, answer_tokens: usize, budget: usize) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut used) = (0, shared);
    for (i, prompt) in prompts.iter().enumerate() {
        let own = prompt.len() - shared + answer_tokens;
        if i > start && used + own > budget {
            groups.push(start..i);
            (start, used) = (i, shared);
        }
        used += own;
    }
    if start < prompts.len() {
        groups.push(start..prompts.len());
    }
    groups
}

/// The prompts as one row, and the segment in which each ends.
pub fn pack(prompts: &[&[u32]], shared: usize) -> (TokenTree, Vec<usize>) {
    let mut tree = TokenTree::new();
    let root = prompts.first().filter(|_| shared > 0).map(|p| tree.push(None, &p[..shared]));
    let leaves = prompts.iter().map(|p| tree.push(root, &p[shared..])).collect();
    (tree, leaves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_keep_to_the_budget_unless_one_prompt_is_longer() {
        let prompt = |len: usize| vec![1u32; len];
        let prompts = [prompt(450), prompt(450), prompt(450), prompt(1900), prompt(20)];
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        assert_eq!(groups(&prompts, 10, 5, 1024), [0..2, 2..3, 3..4, 4..5]);
        assert!(groups(&[], 0, 5, 1024).is_empty());
    }

    #[test]
    fn a_row_holds_the_shared_beginning_once() {
        let (tree, leaves) = pack(&[&[1, 5, 6], &[1, 7]], 1);
        assert_eq!(tree.ids(), [1, 5, 6, 7]);
        assert_eq!(leaves.iter().map(|l| tree.last(*l)).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(pack(&[&[4], &[3]], 0).0.ids(), [4, 3]);
    }
}
