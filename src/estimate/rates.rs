//! How fast usual machines are: for plans that no earlier run tells anything of, and right to a factor of a few.

use std::collections::BTreeMap;

use super::model_shape::ModelShape;
use crate::{
    base::{error::Result, machine::Device},
    engine::{Artifact, TimeEstimate},
};

/// Floating-point operations a second of one core with vectors of 256 bits, in f32.
pub(super) const CORE: f64 = 70e9;

/// The same of a GPU of 24 GB with tensor cores, in bf16, at a third of what its maker says.
const GPU: f64 = 25e12;

/// Bytes a second, over the network or from a disk.
const TRANSFER: f64 = 20e6;

/// Seconds until a process has begun, and bytes a second at which it reads a model.
const START: f64 = 0.5;
const READING: f64 = 500e6;

/// Of `download`: bytes, as far as they are known.
#[derive(Debug)]
pub struct Transfer(pub u64);

impl TimeEstimate for Transfer {
    fn seconds(&self, _: &BTreeMap<String, Vec<Artifact>>, _: u32) -> Result<f64> {
        Ok(START + self.0 as f64 / TRANSFER)
    }
}

/// Seconds of so many operations, with the start of the process and the reading of the model.
pub(super) fn computing(shape: &ModelShape, operations: f64, cores: u32) -> f64 {
    let rate = match shape.device {
        Device::Cpu => CORE * f64::from(cores.max(1)),
        Device::Cuda => GPU,
    };
    START + shape.bytes() as f64 / READING + operations / rate
}
