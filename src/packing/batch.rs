//! From tokenised examples to packed rows for training.

use std::ops::Range;

use crate::models::TokenTree;

/// One tokenised example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub id: String,
    /// Index into [`Answers::labels`].
    pub label: u32,
    /// The prompt up to where the answer begins; never empty.
    pub prompt: Vec<u32>,
}

/// What the model may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// Token ids of each label's words.
    pub labels: Vec<Vec<u32>>,
    /// The token that ends an answer.
    pub end: u32,
}

/// Samples in one row, and where the loss looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedBatch {
    pub tree: TokenTree,
    /// The segment in which each sample ends.
    pub leaves: Vec<usize>,
    /// Row index of the token before each labelled one; none for a head.
    pub rows: Vec<u32>,
    /// Labelled tokens: each sample's answer and the end token, in the order of the samples; for a head, each sample's label.
    pub targets: Vec<u32>,
}

impl PackedBatch {
    /// `[longest common beginning][rest of prompt 1, answer 1, end][rest of prompt 2, ...]`. Every sample keeps at least one
    /// token of its prompt, so that no row predicts the first answer token of two samples.
    pub fn new(samples: &[&Sample], answers: &Answers) -> Self {
        let prompts: Vec<&[u32]> = samples.iter().map(|s| s.prompt.as_slice()).collect();
        let shared = shared_beginning(&prompts);
        let mut tree = TokenTree::new();
        let root = samples.first().filter(|_| shared > 0).map(|s| tree.push(None, &s.prompt[..shared]));
        let (mut leaves, mut rows, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for sample in samples {
            let answer = &answers.labels[sample.label as usize];
            let mut own = sample.prompt[shared..].to_vec();
            own.extend_from_slice(answer);
            let last_of_prompt = (tree.len() + sample.prompt.len() - shared - 1) as u32;
            // The end token predicts nothing, so it isn't computed.
            leaves.push(tree.push(root, &own));
            rows.extend((0..=answer.len() as u32).map(|i| last_of_prompt + i));
            targets.extend(answer.iter().copied().chain([answers.end]));
        }
        Self { tree, leaves, rows, targets }
    }

    /// For a head: the prompts alone, `[longest common beginning][rest of prompt 1][rest of prompt 2]...`; without a common
    /// beginning where it would not be the same in all (`causal` is [`crate::models::Backbone::is_causal`]).
    pub fn of_prompts(samples: &[&Sample], causal: bool) -> Self {
        let prompts: Vec<&[u32]> = samples.iter().map(|s| s.prompt.as_slice()).collect();
        let shared = if causal { shared_beginning(&prompts) } else { 0 };
        let mut tree = TokenTree::new();
        let root = samples.first().filter(|_| shared > 0).map(|s| tree.push(None, &s.prompt[..shared]));
        let leaves = prompts.iter().map(|p| tree.push(root, &p[shared..])).collect();
        Self { tree, leaves, rows: Vec::new(), targets: samples.iter().map(|s| s.label).collect() }
    }
}

/// Length of the longest common beginning that leaves each prompt at least one token of its own.
pub fn shared_beginning(prompts: &[&[u32]]) -> usize {
    let Some((first, rest)) = prompts.split_first() else { return 0 };
    rest.iter().fold(first.len().saturating_sub(1), |shared, prompt| {
        let limit = shared.min(prompt.len().saturating_sub(1));
        first[..limit].iter().zip(*prompt).take_while(|(a, b)| a == b).count()
    })
}

/// Tokens of their own that the samples of a row on a CPU have. There, longer rows are hardly faster, and memory grows with them.
const CPU_ROW: usize = 640;

/// How often what a row's samples share may be computed anew for the sake of shorter rows: once in so many of their own tokens.
const SHARE: usize = 8;

/// Tokens of their own, at most, of the samples in one row, but for those of one sample more; `shared` tokens at their beginning
/// are common to all. GPUs have a use for any length.
pub fn most_in_row(shared: usize, on_cpu: bool) -> usize {
    if on_cpu { CPU_ROW.max(SHARE * shared) } else { usize::MAX }
}

/// Divides samples, in their order, into as few rows as `most` tokens of their own in each allow, all of about the same length.
/// `own` has those of each sample; a row may be longer by less than a sample.
pub fn rows(own: &[usize], most: usize) -> Vec<Range<usize>> {
    let all: usize = own.iter().sum();
    let count = all.div_ceil(most).max(1);
    let mut rows: Vec<Range<usize>> = Vec::with_capacity(count);
    let (mut before, mut current) = (0, None);
    for (i, tokens) in own.iter().enumerate() {
        // Where the middle of the sample lies.
        let row = (2 * before + tokens) * count / (2 * all).max(1);
        match rows.last_mut().filter(|_| current == Some(row)) {
            Some(last) => last.end = i + 1,
            None => rows.push(i..i + 1),
        }
        (before, current) = (before + tokens, Some(row));
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(id: &str, label: u32, prompt: &[u32]) -> Sample {
        Sample { id: id.to_owned(), label, prompt: prompt.to_vec() }
    }

    fn answers() -> Answers {
        Answers { labels: vec![vec![50, 51], vec![60]], end: 2 }
    }

    #[test]
    fn samples_share_their_beginning_and_rows_precede_targets() {
        let (a, b) = (sample("a", 0, &[1, 7, 8, 9]), sample("b", 1, &[1, 7, 5]));
        let batch = PackedBatch::new(&[&a, &b], &answers());
        assert_eq!(batch.tree.ids(), [1, 7, 8, 9, 50, 51, 5, 60]);
        assert_eq!(batch.tree.positions(), [0, 1, 2, 3, 4, 5, 2, 3]);
        assert_eq!(batch.rows, [3, 4, 5, 6, 7]);
        assert_eq!(batch.targets, [50, 51, 2, 60, 2]);
    }

    #[test]
    fn a_head_reads_each_prompt() {
        let (a, b) = (sample("a", 0, &[1, 7, 8, 9]), sample("b", 1, &[1, 7, 5]));
        let batch = PackedBatch::of_prompts(&[&a, &b], true);
        assert_eq!(batch.tree.ids(), [1, 7, 8, 9, 5]);
        assert_eq!((batch.leaves, batch.targets), (vec![1, 2], vec![0, 1]));
        let batch = PackedBatch::of_prompts(&[&a, &b], false);
        assert_eq!(batch.tree.ids(), [1, 7, 8, 9, 1, 7, 5]);
        assert_eq!((batch.leaves, batch.targets), (vec![0, 1], vec![0, 1]));
    }

    #[test]
    fn equal_prompts_keep_a_token_each() {
        let (a, b) = (sample("a", 0, &[1, 7]), sample("b", 1, &[1, 7]));
        let batch = PackedBatch::new(&[&a, &b], &answers());
        assert_eq!(batch.tree.ids(), [1, 7, 50, 51, 7, 60]);
        assert_eq!(batch.rows, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn nothing_in_common_means_no_shared_segment() {
        let (a, b) = (sample("a", 1, &[3]), sample("b", 1, &[4, 4]));
        let batch = PackedBatch::new(&[&a, &b], &answers());
        assert_eq!(batch.tree.ids(), [3, 60, 4, 4, 60]);
        assert!(batch.tree.segments().iter().all(|s| s.parent.is_none()));
    }

    #[test]
    fn rows_are_few_and_alike() {
        assert_eq!(rows(&[65; 16], 512), [0..5, 5..11, 11..16]);
        assert_eq!(rows(&[64; 16], 512), [0..8, 8..16]);
        assert_eq!(rows(&[20; 16], 512).len(), 1);
        assert!(rows(&[], 512).is_empty());
        assert_eq!(rows(&[900, 10, 900], 512), [0..1, 1..2, 2..3]);
        assert_eq!((most_in_row(40, true), most_in_row(600, true)), (640, 4800));
        assert_eq!(rows(&[900; 16], most_in_row(40, false)).len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        #[test]
        fn every_sample_is_in_one_row(own in proptest::collection::vec(1usize..300, 1..40), most in 1usize..600) {
            let rows = rows(&own, most);
            prop_assert_eq!(rows.iter().cloned().flatten().collect::<Vec<_>>(), (0..own.len()).collect::<Vec<_>>());
            let longest = own.iter().max().unwrap();
            for row in rows {
                prop_assert!(own[row].iter().sum::<usize>() <= most + longest);
            }
        }
    }
}
