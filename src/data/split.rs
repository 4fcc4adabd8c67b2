//! Splits, drawn by a hash of the text: adding, removing or reordering rows never moves another row to another split.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::diagnose::diagnostic;
use crate::config::{Diagnostic, Node};

/// Part of a dataset. The order is that of every table and file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    Train,
    Dev,
    Test,
}

impl Split {
    /// In the order of every table and file.
    pub const ALL: [Self; 3] = [Self::Train, Self::Dev, Self::Test];

    /// As cards, tables and files call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Dev => "dev",
            Self::Test => "test",
        }
    }

    /// The split that [`Self::name`] gives this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

/// Shares of the splits. They sum to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fractions {
    /// Share of the texts that are trained on.
    pub train: f64,
    /// Share of the texts that training is watched with.
    #[serde(default)]
    pub dev: f64,
    /// Share of the texts that results are measured on.
    pub test: f64,
    /// Another salt draws other splits. Left out: the dataset's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

impl Fractions {
    /// What is wrong with the shares; `node` is where they are written.
    pub fn diagnostics(&self, node: &Node) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for (split, share) in self.shares() {
            if !(0.0..=1.0).contains(&share) {
                found.push(diagnostic(
                    node,
                    [],
                    format!("the share of {} is {share}, which is no share between 0 and 1", split.name()),
                ));
            }
        }
        let sum: f64 = self.shares().iter().map(|(_, share)| share).sum();
        if (sum - 1.0).abs() > 1e-9 {
            found.push(diagnostic(node, [], format!("the shares of train, dev and test sum to {sum}, not to 1")));
        }
        found
    }

    /// Each split with its share, from 0 to 1.
    pub fn shares(&self) -> [(Split, f64); 3] {
        [(Split::Train, self.train), (Split::Dev, self.dev), (Split::Test, self.test)]
    }

    /// The split that a text falls into.
    pub fn draw(&self, hash: &TextHash) -> Split {
        let position = hash.position();
        if position < self.train {
            Split::Train
        } else if position < self.train + self.dev {
            Split::Dev
        } else {
            Split::Test
        }
    }
}

/// BLAKE3 over salt and folded text. It draws the split and orders the rows, so the first n rows of a split are a random
/// sample that a larger n only extends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextHash([u8; 32]);

impl TextHash {
    /// `folded` is a text as [`super::normalize::fold`] gives it, so that duplicates always fall into one split.
    pub fn new(salt: &str, folded: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(salt.len() as u64).to_le_bytes());
        hasher.update(salt.as_bytes());
        hasher.update(folded.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The hash's place in `0.0..1.0`; uniform over texts.
    fn position(&self) -> f64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        (u64::from_be_bytes(head) >> 11) as f64 * 2f64.powi(-53)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::diagnose::nowhere;

    fn fractions(train: f64, dev: f64, test: f64) -> Fractions {
        Fractions { train, dev, test, salt: None }
    }

    #[test]
    fn shares_come_out_and_another_salt_draws_others() {
        let f = fractions(0.8, 0.1, 0.1);
        let draw =
            |salt: &str| (0..10_000).map(|i| f.draw(&TextHash::new(salt, &format!("text {i}")))).collect::<Vec<_>>();
        let a = draw("a");
        let train = a.iter().filter(|s| **s == Split::Train).count();
        let dev = a.iter().filter(|s| **s == Split::Dev).count();
        assert!((7_800..8_200).contains(&train), "{train}");
        assert!((850..1_150).contains(&dev), "{dev}");
        assert_ne!(a, draw("b"));
    }

    #[test]
    fn the_drawing_never_changes() {
        // Pinned: a change here silently changes every dataset, so the stage's version must rise with it.
        let f = fractions(0.5, 0.25, 0.25);
        let drawn: String =
            (0..24).map(|i| char::from(b'0' + f.draw(&TextHash::new("s", &format!("t{i}"))) as u8)).collect();
        assert_eq!(drawn, "100101020001020001002021");
    }

    #[test]
    fn raising_the_share_of_train_moves_rows_into_train_only() {
        for i in 0..1000 {
            let hash = TextHash::new("s", &i.to_string());
            if fractions(0.7, 0.1, 0.2).draw(&hash) == Split::Train {
                assert_eq!(fractions(0.8, 0.1, 0.1).draw(&hash), Split::Train);
            }
        }
    }

    #[test]
    fn salt_and_text_do_not_run_into_each_other() {
        assert_ne!(TextHash::new("a", "bc"), TextHash::new("ab", "c"));
    }

    #[test]
    fn bad_shares_are_named() {
        assert!(fractions(0.8, 0.1, 0.1).diagnostics(&nowhere()).is_empty());
        assert!(fractions(0.8, 0.1, 0.2).diagnostics(&nowhere())[0].message.contains("sum to 1.1"));
        assert!(fractions(1.5, -0.5, 0.0).diagnostics(&nowhere())[0].message.contains("train is 1.5"));
    }
}
