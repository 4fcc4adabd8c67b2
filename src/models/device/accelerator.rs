//! The devices that a process may compute on.

use candle_core::Device as Opened;

#[cfg(feature = "cuda")]
use super::cuda_driver;
use super::usage::{Counts, Peak};
#[cfg(not(feature = "cuda"))]
use crate::base::{error::Error, machine};
use crate::base::{
    error::Result,
    machine::{Device, Gpu},
};

/// The GPU for tests of kernels: also where there is no cuBLAS, so that those which need none are run.
///
/// # Errors
/// As [`open`].
#[cfg(all(test, feature = "cuda"))]
pub fn connect() -> Result<Opened> {
    cuda_driver::connect()
}

/// The GPUs that this process may compute on.
///
/// # Errors
/// If there are none, or this build can't use them: why, and what to do.
pub fn gpus() -> Result<Vec<Gpu>> {
    #[cfg(feature = "cuda")]
    return cuda_driver::gpus();
    #[cfg(not(feature = "cuda"))]
    Err(without_cuda())
}

/// The GPUs of this machine, whether or not this build can use them.
pub fn gpus_of_machine() -> Vec<Gpu> {
    #[cfg(feature = "cuda")]
    return cuda_driver::gpus().unwrap_or_default();
    #[cfg(not(feature = "cuda"))]
    machine::cuda_devices()
}

/// Whether this process can compute on `device`.
///
/// # Errors
/// If it can't: why, and what to do.
pub fn supported(device: Device) -> Result<()> {
    match device {
        Device::Cpu => Ok(()),
        Device::Cuda => gpus().map(drop),
    }
}

/// The device, opened. A GPU is the first of those that `CUDA_VISIBLE_DEVICES` leaves, and opened once in a process.
///
/// # Errors
/// As [`supported`], and if the GPU can't be taken hold of.
pub fn open(device: Device) -> Result<Opened> {
    match device {
        Device::Cpu => Ok(Opened::Cpu),
        #[cfg(feature = "cuda")]
        Device::Cuda => cuda_driver::open(),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda => Err(without_cuda()),
    }
}

#[cfg(not(feature = "cuda"))]
fn without_cuda() -> Error {
    Error::environment("this build of emopipe has no CUDA support")
        .help("build it with `--features cuda` where there is a CUDA toolkit (README.md says how)")
}

/// The peak of memory on a device beside the host since the process began or [`forget_peak`]; None on the CPU, and where the driver doesn't tell.
pub fn peak(device: &Opened) -> Option<Peak> {
    match device {
        #[cfg(feature = "cuda")]
        Opened::Cuda(device) => cuda_driver::peak(device),
        _ => None,
    }
}

/// Gives back what no tensor holds, and lets [`peak`] begin anew.
///
/// # Errors
/// If the device fails.
pub fn forget_peak(device: &Opened) -> Result<()> {
    device.synchronize()?;
    #[cfg(feature = "cuda")]
    if let Opened::Cuda(device) = device {
        cuda_driver::forget_peak(device);
    }
    Ok(())
}

/// All zero in a build without CUDA.
pub fn counts() -> Counts {
    #[cfg(feature = "cuda")]
    return cuda_driver::counts();
    #[cfg(not(feature = "cuda"))]
    Counts::default()
}

/// What a device is called: `cpu`, or the GPU's name.
///
/// # Errors
/// If the driver doesn't tell.
pub fn name(device: &Opened) -> Result<String> {
    match device {
        #[cfg(feature = "cuda")]
        Opened::Cuda(device) => cuda_driver::name(device),
        _ => Ok(Device::Cpu.name().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there_and_a_missing_gpu_is_explained() {
        assert!(open(Device::Cpu).unwrap().is_cpu());
        match gpus() {
            Ok(gpus) => assert!(!gpus.is_empty()),
            Err(e) => assert!(e.help.is_some() && open(Device::Cuda).is_err(), "{e}"),
        }
    }
}
