//! The order in which training sees its samples: seed and step alone decide it.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// The order in which a training sees its samples: a fresh permutation for every epoch.
#[derive(Debug, Clone, Copy)]
pub struct DataOrder {
    pub samples: usize,
    pub batch_size: usize,
    pub seed: u64,
}

impl DataOrder {
    /// The last batch of an epoch may be smaller.
    pub fn steps_per_epoch(&self) -> u64 {
        self.samples.div_ceil(self.batch_size) as u64
    }

    /// Indices of the samples of optimiser step `step`, counted from 0. Depends on nothing that went before.
    pub fn batch(&self, step: u64) -> Vec<usize> {
        let per_epoch = self.steps_per_epoch();
        let start = (step % per_epoch) as usize * self.batch_size;
        let mut order = self.permutation(step / per_epoch);
        order.truncate((start + self.batch_size).min(self.samples));
        order.split_off(start)
    }

    /// Samples that the first `steps` steps see, repetitions included.
    pub fn seen(&self, steps: u64) -> u64 {
        let per_epoch = self.steps_per_epoch();
        let rest = (steps % per_epoch) * self.batch_size as u64;
        (steps / per_epoch) * self.samples as u64 + rest
    }

    /// Fisher-Yates with a ChaCha stream of its own per seed and epoch.
    fn permutation(&self, epoch: u64) -> Vec<usize> {
        let mut hasher = blake3::Hasher::new_derive_key("emopipe data order 1");
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&epoch.to_le_bytes());
        let mut rng = ChaCha12Rng::from_seed(*hasher.finalize().as_bytes());
        let mut order: Vec<usize> = (0..self.samples).collect();
        for i in (1..order.len()).rev() {
            // The high half of a 64 x 64 bit product: its bias is below 2^-40 for any data set that fits in memory.
            let j = (u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64;
            order.swap(i, j as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_sees_every_sample_once_in_an_order_of_its_own() {
        let order = DataOrder { samples: 10, batch_size: 4, seed: 3 };
        let epoch = |e: u64| (0..3).flat_map(|s| order.batch(e * 3 + s)).collect::<Vec<_>>();
        for e in 0..3 {
            let mut seen = epoch(e);
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(epoch(0), epoch(1));
        assert_ne!(epoch(0), DataOrder { seed: 4, ..order }.permutation(0));
        assert_eq!(order.batch(2).len(), 2);
        assert_eq!((order.seen(2), order.seen(3), order.seen(4)), (8, 10, 14));
    }

    #[test]
    fn the_order_is_pinned() {
        let order = DataOrder { samples: 8, batch_size: 8, seed: 0 };
        assert_eq!(order.batch(0), PINNED);
    }

    /// Another order changes the bytes of every adapter: raise the train stage's version with it.
    const PINNED: [usize; 8] = [7, 6, 4, 5, 1, 0, 3, 2];
}
