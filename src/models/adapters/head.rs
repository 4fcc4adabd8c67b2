//! A linear classifier on what a backbone makes of a prompt, trained with an adapter or alone.
//!
//! `logits = W h + b`, where `h` is the backbone's summary of the prompt: of a decoder the hidden state (after the last norm)
//! of its last token, as in ChatGLM's own model for sequence classification; of an encoder its pooled state. The loss is the
//! cross-entropy over the labels.

use candle_core::{Result as Candle, Tensor, Var};

use super::trained_linear::linear;
use crate::{
    base::error::{Error, Result},
    models::autograd::{Backward, Input, record},
};

/// The classifier's parameters.
#[derive(Debug, Clone)]
pub struct Head {
    /// Path of the layer in saved weights.
    name: &'static str,
    /// `[labels, hidden]`
    weight: Var,
    /// `[labels]`
    bias: Var,
}

impl Head {
    /// `weight` is `[labels, hidden]`, `bias` `[labels]`.
    pub(super) fn of_variables(name: &'static str, weight: Var, bias: Var) -> Self {
        Self { name, weight, bias }
    }

    /// With saved parameters: `[labels, hidden]` and `[labels]`. `name` is the layer's path in saved weights
    /// ([`crate::models::Backbone::head_name`]).
    ///
    /// # Errors
    /// If the device fails.
    pub fn from_tensors(name: &'static str, weight: &Tensor, bias: &Tensor) -> Result<Self> {
        Ok(Self { name, weight: Var::from_tensor(weight)?, bias: Var::from_tensor(bias)? })
    }

    pub fn labels(&self) -> usize {
        self.bias.elem_count()
    }

    /// Logits of a backbone's pooled output (`[samples, hidden]`): `[samples, labels]`.
    ///
    /// # Errors
    /// If `pooled_output` has another width than the layer reads, or the device fails.
    pub fn logits(&self, pooled_output: &Tensor) -> Result<Tensor> {
        Ok(linear(pooled_output, &self.weight, &self.bias)?)
    }

    /// Negative log-likelihood (natural logarithm) of label `targets[i]` at row `i` of `pooled_output`
    /// (`[samples, hidden]`): `[samples]`.
    ///
    /// # Errors
    /// If there isn't one target per row, a target is no label, or the device fails.
    pub fn nll(&self, pooled_output: &Tensor, targets: &[u32]) -> Result<Tensor> {
        let samples = pooled_output.dim(0)?;
        if samples != targets.len() || targets.iter().any(|t| *t as usize >= self.labels()) {
            let (targets, labels) = (targets.len(), self.labels());
            return Err(Error::internal(format!("{samples} samples, {targets} targets, {labels} labels")));
        }
        Ok(cross_entropy(&self.logits(pooled_output)?, targets)?)
    }

    /// Path of the layer in saved weights.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Weight, `[labels, hidden]`, and bias, `[labels]`, with their names.
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::models::test_models::{assert_close, assert_gradient, random, with_threads};

    const TARGETS: [u32; 3] = [2, 0, 1];

    #[test]
    fn equals_candles_own_cross_entropy() {
        let (h, w, b) = (random(&[3, 16], 1), random(&[3, 16], 2), random(&[3], 3));
        let head = Head::from_tensors("score", &w, &b).unwrap();
        let logits = h.matmul(&w.t().unwrap()).unwrap().broadcast_add(&b).unwrap();
        assert_close(&head.logits(&h).unwrap(), &logits, 1e-6);
        let mean = head.nll(&h, &TARGETS).unwrap().mean_all().unwrap();
        let targets = Tensor::new(&TARGETS, &Device::Cpu).unwrap();
        let expected = candle_nn::loss::cross_entropy(&logits, &targets).unwrap();
        assert_close(&mean.reshape(1).unwrap(), &expected.reshape(1).unwrap(), 1e-6);
        assert!(head.nll(&h, &[0, 1, 3]).is_err(), "there is no fourth label");
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let (h, w, b) = (Var::from_tensor(&random(&[3, 16], 1)).unwrap(), random(&[3, 16], 2), random(&[3], 3));
        let head = Head::from_tensors("score", &w, &b).unwrap();
        let loss = |h: &Tensor, w: &Tensor, b: &Tensor| {
            Head::from_tensors("score", w, b).and_then(|head| head.nll(h, &TARGETS)).unwrap().sum_all()
        };
        let grads = head.nll(&h, &TARGETS).unwrap().sum_all().unwrap().backward().unwrap();
        assert_gradient(&h, grads.get(&h).unwrap(), |x| loss(x, &w, &b));
        assert_gradient(&w, grads.get(&head.weight).unwrap(), |x| loss(&h, x, &b));
        assert_gradient(&b, grads.get(&head.bias).unwrap(), |x| loss(&h, &w, x));
    }

    #[test]
    fn threads_change_no_bit() {
        let (h, w, b) = (Var::from_tensor(&random(&[300, 64], 1)).unwrap(), random(&[5, 64], 2), random(&[5], 3));
        let targets: Vec<u32> = (0..300).map(|i| i % 5).collect();
        let bits = |threads| {
            with_threads(threads, || {
                let head = Head::from_tensors("score", &w, &b).unwrap();
                let grads = head.nll(&h, &targets).unwrap().sum_all().unwrap().backward().unwrap();
                let of = |v: &Var| grads.get(v).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                [of(&h), of(&head.weight), of(&head.bias)]
            })
        };
        assert!(bits(1) == bits(3));
    }
}
