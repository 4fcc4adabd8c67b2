//! Times on a device, and a profiler's eye on it.

use std::time::Instant;

use candle_core::Device as Opened;

#[cfg(feature = "cuda")]
use super::cuda_driver;
#[cfg(feature = "cuda")]
use crate::base::error::Error;
use crate::base::error::Result;

/// A place in the work that was given to a device: what came before is done there, what comes after has not begun.
pub enum Mark {
    Host(Instant),
    #[cfg(feature = "cuda")]
    Cuda(cudarc::driver::CudaEvent),
}

impl Mark {
    /// A mark behind all work that was given to `device` so far.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(device: &Opened) -> Result<Self> {
        match device {
            #[cfg(feature = "cuda")]
            Opened::Cuda(device) => cuda_driver::mark(device).map(Self::Cuda),
            _ => Ok(Self::Host(Instant::now())),
        }
    }

    /// Seconds until the device got to `later`; waits until it has.
    ///
    /// # Errors
    /// If the device fails, or the marks are of different devices.
    pub fn seconds_until(&self, later: &Self) -> Result<f64> {
        match (self, later) {
            (Self::Host(from), Self::Host(to)) => Ok((*to - *from).as_secs_f64()),
            #[cfg(feature = "cuda")]
            (Self::Cuda(from), Self::Cuda(to)) => cuda_driver::seconds_between(from, to),
            #[cfg(feature = "cuda")]
            _ => Err(Error::internal("a time between different devices")),
        }
    }
}

/// Does `work` with a profiler's eye on it, where one waits for that: `ncu --profile-from-start off`.
///
/// # Errors
/// If the driver fails.
pub fn profile<T>(device: &Opened, work: impl FnOnce() -> T) -> Result<T> {
    match device {
        #[cfg(feature = "cuda")]
        Opened::Cuda(_) => cuda_driver::profile(work),
        _ => Ok(work()),
    }
}
