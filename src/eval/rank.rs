//! Answers by rank: the label that the model is most likely to answer.
//!
//! The score of a label is `sum_i log p(answer token i | prompt, answer tokens before i) + log p(end | prompt, answer)`: the
//! log-probability that the model answers exactly this label and stops. The end token makes scores comparable where one
//! label's tokens begin another's. Nothing is normalised by length: the labels of a task are alternatives that the model
//! knows from the instruction, and exactly one of them is the whole answer.

use super::questions::{Question, checked, prompts};
use crate::packing::{TOKEN_BUDGET, groups};
use crate::{
    base::error::Result,
    models::{Adapter, Backbone, Mode, TokenTree, adapters::DetachedAdapter, free_unused_buffers},
    packing::{Answers, shared_beginning},
};

/// Scores of every label for every question, `[questions][labels]`, in nats. `done` hears how many questions are finished and
/// may stop the work with an error.
///
/// # Errors
/// Those of the backbone and of `done`; and if a score isn't a finite number.
pub fn rank<Q: Question>(
    backbone: &dyn Backbone,
    adapter: &dyn Adapter,
    questions: &[Q],
    answers: &Answers,
    mut done: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<f64>>> {
    let adapter = &DetachedAdapter(adapter);
    let prompts = &prompts(questions);
    let shared = shared_beginning(prompts);
    let trie = AnswerTrie::new(answers);
    let mut scores = Vec::with_capacity(prompts.len());
    for group in groups(prompts, shared, trie.tokens(), TOKEN_BUDGET) {
        let row = PackedQuestions::new(&prompts[group], shared, &trie);
        let hidden = backbone.forward(&row.tree, adapter, Mode::Eval)?;
        let nll = backbone.nll(&hidden, &row.rows, &row.targets)?.to_vec1::<f32>()?;
        for predictions in nll.chunks(trie.predictions()) {
            let predictions = checked(questions, scores.len(), "the log-probability of a label's token", predictions)?;
            scores.push(trie.scores(predictions));
        }
        free_unused_buffers();
        done(scores.len())?;
    }
    Ok(scores)
}

/// Index of the best of `[labels]` scores; of equal ones the first.
pub fn best(scores: &[f64]) -> usize {
    scores.iter().enumerate().fold(0, |best, (i, s)| if *s > scores[best] { i } else { best })
}

/// Log-probabilities over the labels alone, `[labels]`: `scores - log sum exp scores`.
pub fn log_softmax(scores: &[f64]) -> Vec<f32> {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
    scores.iter().map(|s| (s - top - sum.ln()) as f32).collect()
}

/// The labels' tokens as a tree in which common beginnings are shared. End tokens are predicted, never read.
#[derive(Debug)]
struct AnswerTrie {
    /// The node before (None: the prompt) and the token; parents stand first.
    nodes: Vec<(Option<usize>, u32)>,
    /// The nodes of each label, from the first token to the last.
    labels: Vec<Vec<usize>>,
    /// Runs of nodes without a fork, and the run that each continues; parents stand first.
    runs: Vec<(Option<usize>, Vec<usize>)>,
    end: u32,
}

impl AnswerTrie {
    fn new(answers: &Answers) -> Self {
        let mut nodes: Vec<(Option<usize>, u32)> = Vec::new();
        let mut labels = Vec::new();
        for ids in &answers.labels {
            let mut path = Vec::new();
            for &token in ids {
                let next = (path.last().copied(), token);
                path.push(nodes.iter().position(|n| *n == next).unwrap_or_else(|| {
                    nodes.push(next);
                    nodes.len() - 1
                }));
            }
            labels.push(path);
        }
        let mut runs: Vec<(Option<usize>, Vec<usize>)> = Vec::new();
        let mut run_of = Vec::new();
        for (node, (parent, _)) in nodes.iter().enumerate() {
            let continued = parent.filter(|p| nodes.iter().filter(|(q, _)| *q == Some(*p)).count() == 1);
            run_of.push(match continued {
                Some(parent) => run_of[parent],
                None => {
                    runs.push((parent.map(|p| run_of[p]), Vec::new()));
                    runs.len() - 1
                }
            });
            runs[run_of[node]].1.push(node);
        }
        Self { nodes, labels, runs, end: answers.end }
    }

    /// Tokens that one prompt's answers add to a row.
    fn tokens(&self) -> usize {
        self.nodes.len()
    }

    /// Predictions per prompt: one for each node, then each label's end.
    fn predictions(&self) -> usize {
        self.nodes.len() + self.labels.len()
    }

    /// The score of each label from the negative log-likelihoods of one prompt's predictions.
    fn scores(&self, nll: &[f32]) -> Vec<f64> {
        let (nodes, ends) = nll.split_at(self.nodes.len());
        self.labels
            .iter()
            .zip(ends)
            .map(|(path, end)| -(path.iter().map(|&n| f64::from(nodes[n])).sum::<f64>() + f64::from(*end)))
            .collect()
    }
}

/// Several prompts in one row, each followed by all answers.
struct PackedQuestions {
    tree: TokenTree,
    /// For each prompt in turn [`AnswerTrie::predictions`] rows, and what follows them.
    rows: Vec<u32>,
    targets: Vec<u32>,
}

impl PackedQuestions {
    fn new(prompts: &[&[u32]], shared: usize, trie: &AnswerTrie) -> Self {
        let mut tree = TokenTree::new();
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        let root = prompts.first().filter(|_| shared > 0).map(|p| tree.push(None, &p[..shared]));
        for prompt in prompts {
            let question = tree.push(root, &prompt[shared..]);
            let asked_at = tree.last(question) as u32;
            let mut segments = Vec::with_capacity(trie.runs.len());
            let mut row_of = vec![0; trie.nodes.len()];
            for (parent, nodes) in &trie.runs {
                let start = tree.len() as u32;
                (start..).zip(nodes).for_each(|(row, &node)| row_of[node] = row);
                let ids: Vec<u32> = nodes.iter().map(|&n| trie.nodes[n].1).collect();
                segments.push(tree.push(Some(parent.map_or(question, |p: usize| segments[p])), &ids));
            }
            let row = |node: Option<usize>| node.map_or(asked_at, |n| row_of[n]);
            for (parent, token) in &trie.nodes {
                rows.push(row(*parent));
                targets.push(*token);
            }
            for path in &trie.labels {
                rows.push(row(path.last().copied()));
                targets.push(trie.end);
            }
        }
        Self { tree, rows, targets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        // `20` begins `20 21` and `20 21 22`; `30` stands alone.
        Answers { labels: vec![vec![20, 21, 22], vec![20], vec![30], vec![20, 21, 23]], end: 2 }
    }

    #[test]
    fn labels_share_their_first_tokens() {
        let trie = AnswerTrie::new(&answers());
        assert_eq!((trie.tokens(), trie.predictions()), (5, 9));
        let runs: Vec<_> = trie.runs.iter().map(|(p, n)| (*p, n.iter().map(|&n| trie.nodes[n].1).collect())).collect();
        let expected: Vec<(Option<usize>, Vec<u32>)> =
            vec![(None, vec![20, 21]), (Some(0), vec![22]), (None, vec![30]), (Some(0), vec![23])];
        assert_eq!(runs, expected);
        let nll: Vec<f32> = (0..9).map(|i| (1 << i) as f32).collect();
        // nodes: 20 21 22 30 23; ends follow in the order of the labels
        let sums = [1 + 2 + 4 + 32, 1 + 64, 8 + 128, 1 + 2 + 16 + 256];
        assert_eq!(trie.scores(&nll), sums.map(|s| -f64::from(s)));
    }

    #[test]
    fn rows_lie_before_their_targets() {
        let trie = AnswerTrie::new(&answers());
        let row = PackedQuestions::new(&[&[1, 5, 6], &[1, 7]], 1, &trie);
        assert_eq!(row.tree.ids(), [1, 5, 6, 20, 21, 22, 30, 23, 7, 20, 21, 22, 30, 23]);
        assert_eq!(row.tree.positions()[..8], [0, 1, 2, 3, 4, 5, 3, 5]);
        assert_eq!(row.rows[..9], [2, 3, 4, 2, 4, 5, 3, 6, 7]);
        assert_eq!(row.targets[..9], [20, 21, 22, 30, 23, 2, 2, 2, 2]);
        assert_eq!(row.rows[9..], [8, 9, 10, 8, 10, 11, 9, 12, 13]);
    }

    #[test]
    fn ties_go_to_the_first_label() {
        assert_eq!(best(&[-2.0, -1.0, -1.0]), 1);
        let p = log_softmax(&[-1.0, -1.0]);
        assert!((f64::from(p[0]) - 0.5f64.ln()).abs() < 1e-7);
        assert!(log_softmax(&[-1e4, -2e4])[0].is_finite());
    }

    /// The definition, one (prompt, label) pair at a time and without sharing anything.
    fn plain_score(backbone: &dyn Backbone, adapter: &dyn Adapter, prompt: &[u32], answer: &[u32], end: u32) -> f64 {
        let mut tree = TokenTree::new();
        tree.push(None, &[prompt, answer].concat());
        let hidden = backbone.forward(&tree, adapter, Mode::Eval).unwrap();
        let rows: Vec<u32> = (0..=answer.len()).map(|i| (prompt.len() - 1 + i) as u32).collect();
        let targets = [answer, &[end]].concat();
        let nll = backbone.nll(&hidden, &rows, &targets).unwrap().to_vec1::<f32>().unwrap();
        -nll.into_iter().map(f64::from).sum::<f64>()
    }

    #[test]
    fn packing_changes_no_score() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-tiny");
        let files = ["config.json", "model.safetensors"].map(|f| (f.to_owned(), folder.join(f)));
        let backbone = crate::models::load_decoder("llama", &files.into(), &candle_core::Device::Cpu).unwrap();
        let spec = serde_json::json!({ "kind": "ptuning2", "virtual_tokens": 3, "init_std": 0.5 });
        let prefix: crate::models::AdapterSpec = serde_json::from_value(spec).unwrap();
        let prefix = prefix.create(&backbone, 5, None).unwrap();
        // More prompts than fit into one row, of different lengths.
        let prompts: Vec<Vec<u32>> = (0..120u32)
            .map(|i| [1, 4, 6].into_iter().chain((0..=i % 9).map(|j| 10 + (i * 7 + j) % 200)).collect())
            .collect();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        for adapter in [&crate::models::adapters::Untrained as &dyn Adapter, prefix.as_ref()] {
            let scores = rank(&backbone, adapter, &prompts, &answers(), |_| Ok(())).unwrap();
            for (prompt, scores) in prompts.iter().zip(scores) {
                for (label, score) in answers().labels.iter().zip(scores) {
                    let plain = plain_score(&backbone, adapter, prompt, label, 2);
                    assert!((score - plain).abs() < 1e-4 * plain.abs(), "{score} {plain}");
                }
            }
        }
    }

    #[test]
    fn the_work_stops_when_asked() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-tiny");
        let files = ["config.json", "model.safetensors"].map(|f| (f.to_owned(), folder.join(f)));
        let backbone = crate::models::load_decoder("llama", &files.into(), &candle_core::Device::Cpu).unwrap();
        let stop = |_| Err(crate::base::error::Error::interrupted("stop"));
        assert!(rank(&backbone, &crate::models::adapters::Untrained, &[&[1u32, 2][..]], &answers(), stop).is_err());
    }
}
