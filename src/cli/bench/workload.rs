//! What is measured on: the lengths of real prompts, with other tokens in them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    base::error::{Error, IoAt, Result},
    data::{TOKENS_FILE, TOKENS_INFO_FILE},
    packing::{Answers, Sample, TokenSet, shared_beginning},
};

/// Ids below this have a meaning of their own in most vocabularies.
const FIRST_WORD: u64 = 1000;

/// The prompts of some tasks, without their texts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    pub tasks: Vec<Task>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    pub name: String,
    /// Tokens that all prompts of the task begin with.
    pub shared: usize,
    /// Token ids of each label's words, and of the token that ends an answer.
    pub labels: Vec<Vec<u32>>,
    pub end: u32,
    /// Tokens of each prompt, without the answer.
    pub train: Vec<usize>,
    pub test: Vec<usize>,
}

impl Workload {
    /// What a file holds that `bench workload` wrote.
    ///
    /// # Errors
    /// If it holds no workload.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).io_at("read", path)?;
        let workload: Self = serde_json::from_slice(&text).map_err(|e| {
            Error::input(format!("{}: {e}", path.display()))
                .help("a workload is written by `emopipe bench workload NAME=FOLDER ...`")
        })?;
        for task in &workload.tasks {
            if task.labels.is_empty() || task.train.iter().chain(&task.test).any(|len| *len <= task.shared) {
                return Err(Error::input(format!(
                    "{}: the task `{}` has no labels, or a prompt that isn't longer than what all share",
                    path.display(),
                    task.name
                )));
            }
        }
        Ok(workload)
    }

    /// The lengths of tokens artifacts, each with a name.
    ///
    /// # Errors
    /// If a folder has no tokens.
    pub fn of_artifacts(artifacts: &[(String, PathBuf)]) -> Result<Self> {
        let tasks = artifacts.iter().map(|(name, folder)| {
            let tokens = TokenSet::read(&folder.join(TOKENS_FILE), &folder.join(TOKENS_INFO_FILE))?;
            let (train, test) = (tokens.split("train")?, tokens.split("test")?);
            let prompts: Vec<&[u32]> = train.iter().chain(&test).map(|s| s.prompt.as_slice()).collect();
            let lengths = |samples: &[Sample]| samples.iter().map(|s| s.prompt.len()).collect();
            Ok(Task {
                name: name.clone(),
                shared: shared_beginning(&prompts),
                labels: tokens.answers.labels.clone(),
                end: tokens.answers.end,
                train: lengths(&train),
                test: lengths(&test),
            })
        });
        Ok(Self { tasks: tasks.collect::<Result<_>>()? })
    }
}

impl Task {
    /// Token ids of the labels.
    pub fn answers(&self) -> Answers {
        Answers { labels: self.labels.clone(), end: self.end }
    }

    /// Prompts of the given lengths: the shared beginning, then tokens of their own. Labels take turns.
    pub fn samples(&self, lengths: &[usize], vocab: usize) -> Vec<Sample> {
        let word = |sample: u64, place: usize| {
            let hash = blake3::hash(format!("{} {sample} {place}", self.name).as_bytes());
            let bytes: [u8; 8] = std::array::from_fn(|i| hash.as_bytes()[i]);
            let first = FIRST_WORD.min(vocab as u64 / 2);
            (first + u64::from_le_bytes(bytes) % (vocab as u64 - first)) as u32
        };
        let prompt = |i: usize, len: usize| {
            (0..len).map(|at| word(if at < self.shared { 0 } else { 1 + i as u64 }, at)).collect()
        };
        lengths
            .iter()
            .enumerate()
            .map(|(i, &len)| Sample {
                id: format!("{}-{i}", self.name),
                label: (i % self.labels.len()) as u32,
                prompt: prompt(i, len),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_have_their_lengths_and_share_what_they_should() {
        let task = Task {
            name: "t".into(),
            shared: 5,
            labels: vec![vec![7], vec![8, 9]],
            end: 2,
            train: vec![6, 9, 30],
            test: vec![],
        };
        let samples = task.samples(&task.train, 2000);
        let prompts: Vec<&[u32]> = samples.iter().map(|s| s.prompt.as_slice()).collect();
        assert_eq!(prompts.iter().map(|p| p.len()).collect::<Vec<_>>(), task.train);
        assert_eq!(shared_beginning(&prompts), 5);
        assert_eq!(samples.iter().map(|s| s.label).collect::<Vec<_>>(), [0, 1, 0]);
        assert!(prompts.iter().all(|p| p.iter().all(|id| (1000..2000).contains(id))));
        assert_eq!(samples, task.samples(&task.train, 2000));
    }
}
