//! Keys and values of tokens that were computed before.

use candle_core::{DType, Result, Tensor};

/// What one layer keeps per token, for the tokens of a growing [`super::TokenTree`].
#[derive(Debug, Default)]
pub struct KvCache {
    /// Places held of an adapter's prompt, which come first.
    places: usize,
    /// Tokens held.
    len: usize,
    /// Tokens that there is room for.
    room: usize,
    /// `[room, width]` per layer.
    layers: Vec<Tensor>,
}

impl KvCache {
    /// With room for `room` tokens; more can come, but then what is held is copied.
    pub fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Neither tokens nor a prompt.
    pub(super) fn holds_nothing(&self) -> bool {
        self.places + self.len == 0
    }

    /// Stores the rows of new tokens for `layer` and returns those of all tokens, `[tokens, width]`. `rows` is
    /// `[new, width]`.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn append(&mut self, layer: usize, rows: &Tensor) -> Result<Tensor> {
        let (new, width) = rows.dims2()?;
        let held = self.places + self.len;
        let total = held + new;
        if self.layers.len() <= layer {
            self.layers.push(Tensor::zeros((self.room.max(total), width), DType::F32, rows.device())?);
        }
        if self.layers[layer].dim(0)? < total {
            let larger = Tensor::zeros((total + total / 2, width), DType::F32, rows.device())?;
            larger.slice_set(&self.layers[layer].narrow(0, 0, held)?, 0, 0)?;
            self.layers[layer] = larger;
        }
        self.layers[layer].slice_set(&rows.contiguous()?, 0, held)?;
        self.layers[layer].narrow(0, 0, total)
    }

    /// To be called when every layer has its rows, those of so many places of a prompt included.
    pub(super) fn advance(&mut self, places: usize, new: usize) {
        self.places = places;
        self.len += new;
    }
}
