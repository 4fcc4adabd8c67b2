//! AdamW (Loshchilov & Hutter 2019) as PyTorch computes it, and clipping by the global norm.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};

use crate::{
    base::error::{Error, Result},
    models::ops::adamw_step::{self, Step},
};

/// Hyper-parameters that stay the same during a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWParams {
    pub beta1: f64,
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// Parameters shrink by `lr * weight_decay` per step, apart from the gradient.
    pub weight_decay: f64,
}

impl Default for AdamWParams {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

/// The optimiser, with its moments in f32.
#[derive(Debug)]
pub struct AdamW {
    params: AdamWParams,
    steps: u64,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    name: String,
    var: Var,
    /// Running mean of the gradient, then of its square, `[2, numbers]`.
    moments: Tensor,
}

/// Everything that an interrupted training needs to go on.
#[derive(Debug, Clone)]
pub struct AdamWState {
    pub steps: u64,
    /// `exp_avg.NAME` and `exp_avg_sq.NAME`, in the shape of the parameter.
    pub moments: BTreeMap<String, Tensor>,
}

const FIRST: &str = "exp_avg";
const SECOND: &str = "exp_avg_sq";

impl AdamW {
    /// For `parameters`, of any shapes `[...]`, with their names, moments zero.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(parameters: Vec<(String, Var)>, params: AdamWParams) -> Result<Self> {
        let slot = |(name, var): (String, Var)| -> Result<Slot> {
            let moments = Tensor::zeros((2, var.elem_count()), DType::F32, var.device())?;
            Ok(Slot { name, var, moments })
        };
        Ok(Self { params, steps: 0, slots: parameters.into_iter().map(slot).collect::<Result<_>>()? })
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step with the gradients in the parameters' order. Gradients have the shapes of their parameters, `[...]`; `lr`
    /// is this step's learning rate.
    ///
    /// # Errors
    /// If there are more or fewer gradients than parameters, or their shapes differ.
    pub fn step(&mut self, gradients: &[Tensor], lr: f64) -> Result<()> {
        if gradients.len() != self.slots.len() {
            return Err(Error::internal(format!("{} gradients for {} parameters", gradients.len(), self.slots.len())));
        }
        self.steps += 1;
        let AdamWParams { beta1, beta2, eps, weight_decay } = self.params;
        let steps = self.steps as f64;
        let step = Step {
            gain1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            gain2: (1.0 - beta2) as f32,
            decay: (1.0 - lr * weight_decay) as f32,
            step_size: (lr / (1.0 - beta1.powf(steps))) as f32,
            root: (1.0 - beta2.powf(steps)).sqrt() as f32,
            eps: eps as f32,
        };
        for (slot, gradient) in self.slots.iter().zip(gradients) {
            adamw_step::step(slot.var.as_tensor(), &slot.moments, gradient, step)
                .map_err(|e| Error::internal(format!("the parameter `{}`: {e}", slot.name)))?;
        }
        Ok(())
    }

    /// The moments, on the CPU.
    ///
    /// # Errors
    /// If the device fails.
    pub fn state(&self) -> Result<AdamWState> {
        let mut moments = BTreeMap::new();
        for slot in &self.slots {
            for (i, kind) in [FIRST, SECOND].into_iter().enumerate() {
                let tensor = slot.moments.get(i)?.reshape(slot.var.shape())?.to_device(&Device::Cpu)?;
                moments.insert(format!("{kind}.{}", slot.name), tensor);
            }
        }
        Ok(AdamWState { steps: self.steps, moments })
    }

    /// Goes on where `state` was taken.
    ///
    /// # Errors
    /// If it lacks a parameter, or has one in another shape.
    pub fn restore(&mut self, state: &AdamWState) -> Result<()> {
        let find = |kind: &str, slot: &Slot| -> Result<Tensor> {
            match state.moments.get(&format!("{kind}.{}", slot.name)) {
                Some(tensor) if tensor.shape() == slot.var.shape() => Ok(tensor.flatten_all()?),
                _ => Err(Error::input(format!("the checkpoint has no {kind} for `{}` in its shape", slot.name))
                    .help("it belongs to another adapter")),
            }
        };
        let moments = |slot: &Slot| -> Result<Tensor> {
            Ok(Tensor::stack(&[find(FIRST, slot)?, find(SECOND, slot)?], 0)?.to_device(slot.var.device())?)
        };
        let moments: Vec<Tensor> = self.slots.iter().map(moments).collect::<Result<_>>()?;
        for (slot, moments) in self.slots.iter_mut().zip(moments) {
            slot.moments = moments;
        }
        self.steps = state.steps;
        Ok(())
    }
}

/// The gradients of `parameters`, in their order. A parameter without one is an error: it would silently not be trained.
/// Each has its parameter's shape, `[...]`.
///
/// # Errors
/// If a parameter got none.
pub fn collect(parameters: &[(String, Var)], store: &GradStore) -> Result<Vec<Tensor>> {
    parameters
        .iter()
        .map(|(name, var)| {
            store.get(var).cloned().ok_or_else(|| Error::internal(format!("the parameter `{name}` got no gradient")))
        })
        .collect()
}

/// Scales `gradients` so that their common Euclidean norm is at most `max_norm`, as `torch.nn.utils.clip_grad_norm_` does,
/// and returns the norm before. It isn't finite where a gradient isn't. Any shapes `[...]`.
///
/// # Errors
/// If the device fails.
pub fn clip_grad_norm(gradients: &mut [Tensor], max_norm: f64) -> Result<f64> {
    let norm = adamw_step::sum_squares(gradients)?.sqrt();
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        for gradient in gradients {
            *gradient = (&*gradient * factor)?;
        }
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn var(numbers: &[f32]) -> Var {
        Var::from_slice(numbers, numbers.len(), &Device::Cpu).unwrap()
    }

    fn gradient(numbers: &[f32]) -> Tensor {
        Tensor::from_slice(numbers, numbers.len(), &Device::Cpu).unwrap()
    }

    /// Worked by hand: after one step both moments' corrections cancel, so each parameter moves by `lr` against the sign.
    #[test]
    fn first_step_moves_by_the_learning_rate() {
        let x = var(&[1.0, -2.0]);
        let mut adamw =
            AdamW::new(vec![("x".into(), x.clone())], AdamWParams { weight_decay: 0.5, ..Default::default() }).unwrap();
        adamw.step(&[gradient(&[0.3, -40.0])], 0.1).unwrap();
        let got = x.to_vec1::<f32>().unwrap();
        assert!((got[0] - (0.95 - 0.1)).abs() < 1e-6 && (got[1] - (-1.9 + 0.1)).abs() < 1e-6, "{got:?}");
    }

    #[test]
    fn restored_state_goes_on_in_the_same_bits() {
        let grads = [[0.3, -1.0], [0.1, 2.0], [-0.7, 0.4]];
        let straight = var(&[1.0, 2.0]);
        let mut adamw = AdamW::new(vec![("x".into(), straight.clone())], AdamWParams::default()).unwrap();
        for g in &grads {
            adamw.step(&[gradient(g)], 0.01).unwrap();
        }
        let resumed = var(&[1.0, 2.0]);
        let parameters = || vec![("x".to_owned(), resumed.clone())];
        let mut before = AdamW::new(parameters(), AdamWParams::default()).unwrap();
        before.step(&[gradient(&grads[0])], 0.01).unwrap();
        let mut after = AdamW::new(parameters(), AdamWParams::default()).unwrap();
        after.restore(&before.state().unwrap()).unwrap();
        for g in &grads[1..] {
            after.step(&[gradient(g)], 0.01).unwrap();
        }
        assert_eq!(straight.to_vec1::<f32>().unwrap(), resumed.to_vec1::<f32>().unwrap());
        assert_eq!(after.steps(), 3);
        let mut other = AdamW::new(vec![("y".into(), var(&[0.0]))], AdamWParams::default()).unwrap();
        assert!(other.restore(&before.state().unwrap()).unwrap_err().message.contains("`y`"));
    }

    #[test]
    fn clipping_scales_all_gradients_together() {
        let mut grads = [gradient(&[3.0, 0.0]), gradient(&[4.0])];
        assert!((clip_grad_norm(&mut grads, 10.0).unwrap() - 5.0).abs() < 1e-9);
        assert_eq!(grads[1].to_vec1::<f32>().unwrap(), [4.0]);
        clip_grad_norm(&mut grads, 1.0).unwrap();
        assert!((grads[0].to_vec1::<f32>().unwrap()[0] - 0.6).abs() < 1e-5);
        let mut bad = [gradient(&[f32::NAN])];
        assert!(!clip_grad_norm(&mut bad, 1.0).unwrap().is_finite());
    }

    #[test]
    fn a_parameter_without_gradient_is_an_error() {
        let (x, y) = (var(&[1.0]), var(&[1.0]));
        let store = (x.as_tensor() * 2.0).unwrap().sum_all().unwrap().backward().unwrap();
        let error = collect(&[("x".into(), x), ("y".into(), y)], &store).unwrap_err();
        assert!(error.message.contains("`y`"));
    }
}
