//! What a cross-entropy is asked for, and the blocks of the vocabulary that it is computed in.

/// Logits that are held at once, per thread group.
const BUDGET: usize = 1 << 20;
const SMALLEST_BLOCK: usize = 256;

/// Which target belongs to which row of the hidden states.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Row of the hidden states that each target follows.
    pub rows: Vec<u32>,
    /// Token id.
    pub ids: Vec<u32>,
}

impl Targets {
    /// `(target's index, row, id - start)` of those whose id lies in the block.
    pub fn within(&self, start: usize, len: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        self.rows.iter().zip(&self.ids).enumerate().filter_map(move |(i, (&row, &id))| {
            let id = id as usize;
            (start..start + len).contains(&id).then(|| (i, row as usize, id - start))
        })
    }
}

fn block_width(rows: usize, vocab: usize) -> usize {
    (BUDGET / rows.max(1)).max(SMALLEST_BLOCK).min(vocab)
}

/// Logits that are held at once for so many rows.
pub fn block_numbers(rows: usize, vocab: usize) -> usize {
    rows * block_width(rows, vocab)
}

/// The columns of the vocabulary, in blocks: where each starts, and its width.
pub fn blocks(rows: usize, vocab: usize) -> impl Iterator<Item = (usize, usize)> {
    let width = block_width(rows, vocab);
    (0..vocab).step_by(width).map(move |start| (start, width.min(vocab - start)))
}
