//! One step of AdamW (Loshchilov & Hutter 2019) for one parameter, in place, as PyTorch computes it; and sums of squares.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use super::operands::{values, values_mut};

/// The numbers of one step that all parameters share.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// `1 - beta1`
    pub gain1: f32,
    pub beta2: f32,
    /// `1 - beta2`
    pub gain2: f32,
    /// `1 - lr * weight_decay`
    pub decay: f32,
    /// `lr / (1 - beta1^t)`
    pub step_size: f32,
    /// `sqrt(1 - beta2^t)`
    pub root: f32,
    pub eps: f32,
}

struct Moments(Step);
struct Update(Step);

impl InplaceOp2 for Moments {
    fn name(&self) -> &'static str {
        "adamw-moments"
    }

    fn cpu_fwd(&self, moments: &mut CpuStorage, lm: &Layout, g: &CpuStorage, lg: &Layout) -> Result<()> {
        let Step { gain1, beta2, gain2, .. } = self.0;
        let (moments, g) = (values_mut(self.name(), moments, lm)?, values(self.name(), g, lg)?);
        let (first, second) = moments.split_at_mut(g.len());
        for ((m, v), g) in first.iter_mut().zip(second).zip(g) {
            *m += gain1 * (g - *m);
            *v = *v * beta2 + gain2 * g * g;
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, moments: &mut CudaStorage, lm: &Layout, g: &CudaStorage, lg: &Layout) -> Result<()> {
        use super::cuda::{self, ADAMW, launch, over};
        let Step { gain1, beta2, gain2, .. } = self.0;
        let len = lg.shape().elem_count();
        let (moments, from) = (cuda::values_mut(self.name(), moments, lm)?, cuda::values(self.name(), g, lg)?);
        launch!(&g.device, ADAMW, "adamw_moments", over(len), (moments, from, len, gain1, beta2, gain2));
        Ok(())
    }
}

impl InplaceOp2 for Update {
    fn name(&self) -> &'static str {
        "adamw-update"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, lx: &Layout, moments: &CpuStorage, lm: &Layout) -> Result<()> {
        let Step { decay, step_size, root, eps, .. } = self.0;
        let (x, moments) = (values_mut(self.name(), x, lx)?, values(self.name(), moments, lm)?);
        let (first, second) = moments.split_at(x.len());
        for ((x, m), v) in x.iter_mut().zip(first).zip(second) {
            *x *= decay;
            *x -= step_size * *m / (v.sqrt() / root + eps);
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &mut CudaStorage, lx: &Layout, moments: &CudaStorage, lm: &Layout) -> Result<()> {
        use super::cuda::{self, ADAMW, launch, over};
        let Step { decay, step_size, root, eps, .. } = self.0;
        let len = lx.shape().elem_count();
        let (x, from) = (cuda::values_mut(self.name(), x, lx)?, cuda::values(self.name(), moments, lm)?);
        launch!(&moments.device, ADAMW, "adamw_update", over(len), (x, from, len, decay, step_size, root, eps));
        Ok(())
    }
}

/// Changes `x` and its `moments` (`[2, x's numbers]`: the running mean of the gradient, then of its square). `x` and
/// `gradient` may have any shape `[...]`, but as many numbers.
///
/// # Errors
/// If their numbers don't go together, one isn't contiguous f32, or the device fails.
pub fn step(x: &Tensor, moments: &Tensor, gradient: &Tensor, step: Step) -> Result<()> {
    if moments.elem_count() != 2 * x.elem_count() || gradient.elem_count() != x.elem_count() {
        candle_core::bail!("adamw: {:?} has a gradient {:?}", x.shape(), gradient.shape())
    }
    moments.inplace_op2(&gradient.contiguous()?, &Moments(step))?;
    x.inplace_op2(moments, &Update(step))
}

/// The sum of the squares of all numbers, in double precision. All tensors are on one device. Any shapes `[...]`.
///
/// # Errors
/// If a tensor isn't f32, or the device fails.
pub fn sum_squares(tensors: &[Tensor]) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if let Some(candle_core::Device::Cuda(device)) = tensors.first().map(Tensor::device) {
        let flat = tensors.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
        return sum_on_device(&Tensor::cat(&flat, 0)?, device);
    }
    let mut sum = 0.0;
    for tensor in tensors {
        let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
        sum += numbers.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
    }
    Ok(sum)
}

#[cfg(feature = "cuda")]
fn sum_on_device(numbers: &Tensor, device: &candle_core::CudaDevice) -> Result<f64> {
    use super::cuda::{self, ADAMW, Pointer, launch, over};
    let (storage, layout) = numbers.storage_and_layout();
    let candle_core::Storage::Cuda(storage) = &*storage else { candle_core::bail!("not on a CUDA device") };
    let len = layout.shape().elem_count();
    let shape = over(len);
    let partial = cuda::alloc::<f64>(device, shape.grid_dim.0 as usize)?;
    launch!(device, ADAMW, "sum_squares", shape, (cuda::values("sum", storage, layout)?, len, Pointer::of(&partial)));
    Ok(device.clone_dtoh(&partial)?.iter().sum())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn moments_and_parameter_move_as_worked_by_hand() -> Result<()> {
        let x = Tensor::new(&[1.0f32, -2.0], &Device::Cpu)?;
        let moments = Tensor::zeros((2, 2), DType::F32, &Device::Cpu)?;
        let g = Tensor::new(&[0.5f32, -4.0], &Device::Cpu)?;
        let first = Step { gain1: 0.1, beta2: 0.99, gain2: 0.01, decay: 0.95, step_size: 1.0, root: 0.1, eps: 0.0 };
        step(&x, &moments, &g, first)?;
        let close = |got: Vec<f32>, want: &[f32]| {
            assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} isn't {want:?}");
        };
        close(moments.flatten_all()?.to_vec1()?, &[0.05, -0.4, 0.0025, 0.16]);
        // 0.95 - 0.05 / (0.05 / 0.1), and -1.9 + 0.4 / (0.4 / 0.1)
        close(x.to_vec1()?, &[0.85, -1.8]);
        assert!(step(&x, &moments, &Tensor::new(&[1f32], &Device::Cpu)?, first).is_err());
        Ok(())
    }

    #[test]
    fn squares_are_summed_over_all_tensors() -> Result<()> {
        let tensors = [Tensor::new(&[3f32, 0.0], &Device::Cpu)?, Tensor::new(&[[4f32]], &Device::Cpu)?];
        assert_eq!(sum_squares(&tensors)?, 25.0);
        Ok(())
    }
}
