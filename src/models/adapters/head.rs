//! A linear classifier on the last hidden state of a prompt, trained with an adapter or alone.
//!
//! `logits = W h + b`, where `h` is the hidden state (after the last norm) of the prompt's last token, as in ChatGLM's own
//! model for sequence classification. The loss is the cross-entropy over the labels.

use candle_core::{Device, Result as Candle, Tensor, Var};

use super::{Adapter, LayerPrefix, LowRank, SavedAdapter, peft, ptuning2::linear};
use crate::{
    error::{Error, Result},
    models::{
        autograd::{Backward, Input, record},
        random,
    },
};

/// Path of the layer in saved weights.
pub(super) const HEAD_NAME: &str = "score";

/// The classifier's parameters.
#[derive(Debug, Clone)]
pub struct Head {
    /// `[labels, hidden]`
    weight: Var,
    /// `[labels]`
    bias: Var,
}

impl Head {
    /// Both uniform in `±1/sqrt(hidden)`, as PyTorch's linear layer starts.
    pub fn new(labels: usize, hidden: usize, seed: u64, device: &Device) -> Result<Self> {
        let bound = 1.0 / (hidden as f32).sqrt();
        let weight = random::uniform(seed, &format!("{HEAD_NAME}.weight"), labels * hidden, bound);
        let bias = random::uniform(seed, &format!("{HEAD_NAME}.bias"), labels, bound);
        Ok(Self {
            weight: Var::from_vec(weight, (labels, hidden), device)?,
            bias: Var::from_vec(bias, labels, device)?,
        })
    }

    /// With saved parameters: `[labels, hidden]` and `[labels]`.
    pub(super) fn from_tensors(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        Ok(Self { weight: Var::from_tensor(weight)?, bias: Var::from_tensor(bias)? })
    }

    pub fn labels(&self) -> usize {
        self.bias.elem_count()
    }

    /// Logits at the chosen rows of `hidden` (`[tokens, hidden]`): `[rows, labels]`.
    pub fn logits(&self, hidden: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let h = hidden.index_select(&Tensor::new(rows, hidden.device())?, 0)?;
        Ok(linear(&h, &self.weight, &self.bias)?)
    }

    /// Negative log-likelihood (natural logarithm) of label `targets[i]` at row `rows[i]` of `hidden`: `[rows]`.
    pub fn nll(&self, hidden: &Tensor, rows: &[u32], targets: &[u32]) -> Result<Tensor> {
        if rows.len() != targets.len() || targets.iter().any(|t| *t as usize >= self.labels()) {
            return Err(Error::internal(format!(
                "{} rows, {} targets, {} labels",
                rows.len(),
                targets.len(),
                self.labels()
            )));
        }
        Ok(cross_entropy(&self.logits(hidden, rows)?, targets)?)
    }

    pub(super) fn named(&self) -> [(&'static str, &Var); 2] {
        [("weight", &self.weight), ("bias", &self.bias)]
    }
}

/// `-log softmax(logits)[i, targets[i]]`: `[rows]` from `[rows, labels]`.
fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Candle<Tensor> {
    let mut rows = logits.detach().to_vec2::<f32>()?;
    let mut losses = Vec::with_capacity(rows.len());
    for (row, &target) in rows.iter_mut().zip(targets) {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let log_sum = f64::from(top) + row.iter().map(|x| f64::from(x - top).exp()).sum::<f64>().ln();
        losses.push((log_sum - f64::from(row[target as usize])) as f32);
        row.iter_mut().for_each(|x| *x = (f64::from(*x) - log_sum).exp() as f32);
        row[target as usize] -= 1.0;
    }
    let slope = Tensor::from_vec(rows.concat(), logits.shape(), logits.device())?;
    let losses = Tensor::from_vec(losses, targets.len(), logits.device())?;
    record(&[logits], losses, CrossEntropy { slope })
}

struct CrossEntropy {
    /// `softmax(logits) - one-hot(targets)`
    slope: Tensor,
}

impl Backward for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn backward(&self, _: &[Input], _: &Tensor, grad: &Tensor) -> Candle<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.slope.broadcast_mul(&grad.unsqueeze(1)?)?)])
    }
}

/// An adapter with a head that was trained with it; [`super::Untrained`] for a head alone.
pub struct WithHead {
    pub adapter: Box<dyn Adapter>,
    pub head: Head,
}

impl Adapter for WithHead {
    fn parameters(&self) -> Vec<(String, Var)> {
        let head = self.head.named().map(|(name, var)| (format!("{HEAD_NAME}.{name}"), var.clone()));
        self.adapter.parameters().into_iter().chain(head).collect()
    }

    fn low_rank(&self, path: &str) -> Option<LowRank> {
        self.adapter.low_rank(path)
    }

    fn prefix(&self) -> Result<Option<Vec<LayerPrefix>>> {
        self.adapter.prefix()
    }

    fn head(&self) -> Option<&Head> {
        Some(&self.head)
    }

    fn save(&self, base_model: &str) -> Result<SavedAdapter> {
        let bare = (!self.adapter.parameters().is_empty()).then(|| self.adapter.save(base_model)).transpose()?;
        peft::save_head(bare, &self.head, base_model)
    }
}
