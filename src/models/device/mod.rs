//! The devices that tensors live on.

mod accelerator;
#[cfg(feature = "cuda")]
mod cuda_driver;
mod timing;
mod usage;

#[cfg(all(test, feature = "cuda"))]
pub use accelerator::connect;
pub use accelerator::{counts, forget_peak, gpus, gpus_of_machine, name, open, peak, supported};
pub use timing::{Mark, profile};
pub use usage::{Counts, Peak};
