//! Kernels: functions of tensors that compute forwards or backwards and leave no trace in the autograd graph.
//!
//! Every reduction has an order that doesn't depend on the number of threads, so results are the same bits on one core
//! and on many. [`super::autograd`] joins them into differentiable blocks.

pub mod adamw_step;
pub mod add;
pub mod attention;
pub mod attention_mask;
pub mod buffers;
#[cfg(feature = "cuda")]
mod cuda;
pub mod dropout;
pub mod gelu;
pub mod gemm;
pub mod heads;
pub mod layer_norm;
mod math;
pub mod nll;
pub mod nll_targets;
mod numbers;
mod operands;
pub mod precision;
pub mod rms_norm;
pub mod rotary;
mod strides;
pub mod swiglu;
pub mod uniform;
