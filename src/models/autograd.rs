//! Differentiable blocks with a hand-written backward, as nodes of candle's graph.

use std::sync::Mutex;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::ops::buffers::{Take, Taken};

/// The gradient of a block.
pub trait Backward: Send + Sync + 'static {
    /// What it is called in errors.
    fn name(&self) -> &'static str;

    /// Gradients of the inputs, in their order, from the gradient of the result. Inputs and gradient are contiguous where
    /// they were so in forward, and outside the graph.
    ///
    /// Each gradient has the shape of its input, `grad` that of the output, `[...]`.
    ///
    /// # Errors
    /// If the shapes don't fit, or the device fails.
    fn backward(&self, inputs: &[Input], output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

/// What a block computed from.
pub struct Input {
    pub tensor: Tensor,
    /// Whether anybody asks for its gradient.
    pub needed: bool,
}

/// Puts `output`, which was computed from the one to three `inputs` outside the graph and is held by nobody else, into
/// the graph. Where no input is tracked, there is nothing to do.
///
/// Any shapes `[...]`; the result has that of `output`.
///
/// # Errors
/// If there are more than three inputs, or the device fails.
pub fn record(inputs: &[&Tensor], output: Tensor, backward: impl Backward) -> Result<Tensor> {
    if inputs.iter().all(|x| !x.track_op()) {
        return Ok(output);
    }
    let shape = output.shape().clone();
    let taken = Take(Mutex::new(None));
    let output = if output.is_contiguous() && output.layout().start_offset() == 0 {
        output
    } else {
        output.force_contiguous()?
    };
    output.inplace_op1(&taken)?;
    let node = Node { storage: taken.0, shape, backward: Box::new(backward) };
    match inputs {
        [a] => a.apply_op1(node),
        [a, b] => a.apply_op2(b, node),
        [a, b, c] => a.apply_op3(b, c, node),
        _ => candle_core::bail!("a node has one to three inputs, not {}", inputs.len()),
    }
}

struct Node {
    storage: Mutex<Option<Taken>>,
    shape: Shape,
    backward: Box<dyn Backward>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Node {
    fn output(&self) -> Result<(CpuStorage, Shape)> {
        match lock(&self.storage).take() {
            Some(Taken::Cpu(storage)) => Ok((storage, self.shape.clone())),
            _ => candle_core::bail!("{} was computed already, or on another device", self.backward.name()),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_output(&self) -> Result<(CudaStorage, Shape)> {
        match lock(&self.storage).take() {
            Some(Taken::Cuda(storage)) => Ok((storage, self.shape.clone())),
            _ => candle_core::bail!("{} was computed already, or on another device", self.backward.name()),
        }
    }

    fn gradients(&self, inputs: &[&Tensor], output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let inputs: Vec<Input> = inputs.iter().map(|x| Input { tensor: x.detach(), needed: x.track_op() }).collect();
        let mut gradients = self.backward.backward(&inputs, &output.detach(), &grad.detach().contiguous()?)?;
        gradients.resize(inputs.len(), None);
        for (gradient, input) in gradients.iter_mut().zip(&inputs) {
            if !input.needed {
                *gradient = None;
            }
        }
        Ok(gradients)
    }
}

impl CustomOp1 for Node {
    fn name(&self) -> &'static str {
        self.backward.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.output()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.cuda_output()
    }

    fn bwd(&self, a: &Tensor, output: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.gradients(&[a], output, grad)?.swap_remove(0))
    }
}

impl CustomOp2 for Node {
    fn name(&self) -> &'static str {
        self.backward.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.output()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.cuda_output()
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, output: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.gradients(&[a, b], output, grad)?.into_iter();
        Ok((gradients.next().flatten(), gradients.next().flatten()))
    }
}

impl CustomOp3 for Node {
    fn name(&self) -> &'static str {
        self.backward.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.output()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.cuda_output()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        output: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.gradients(&[a, b, c], output, grad)?.into_iter();
        Ok((gradients.next().flatten(), gradients.next().flatten(), gradients.next().flatten()))
    }
}
