//! The devices that stages can compute on.

use crate::{
    engine::{Device, Resources},
    error::{Error, Result},
};

/// Whether this build of the program computes on `device`.
///
/// # Errors
/// If it doesn't: why, and what to do.
pub fn supported(device: Device) -> Result<()> {
    match device {
        Device::Cpu => Ok(()),
        Device::Cuda if cfg!(feature = "cuda") => {
            Err(Error::environment("emopipe can't compute on CUDA devices yet: its kernels are for CPUs so far"))
        }
        Device::Cuda => Err(Error::environment("this build of emopipe has no CUDA support")
            .help("build it with `--features cuda` on a machine with the CUDA toolkit")),
    }
}

/// The device, opened.
pub(super) fn open(device: Device) -> Result<candle_core::Device> {
    supported(device).map(|()| candle_core::Device::Cpu)
}

/// Host memory that work on a device needs beside the device's own.
const HOST: u64 = 2 << 30;

/// What an action occupies that needs `memory` bytes on `device`.
pub(super) fn on_device(device: Device, memory: u64) -> Resources {
    match device {
        Device::Cpu => Resources { memory, ..Resources::default() },
        Device::Cuda => Resources { memory: HOST, gpus: 1, ..Resources::default() },
    }
}
