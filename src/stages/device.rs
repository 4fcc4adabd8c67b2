//! What an action occupies on a device.

use crate::base::machine::{Device, Resources};

/// Host memory that work on a device needs beside the device's own.
const HOST: u64 = 2 << 30;

/// What an action occupies that needs `memory` bytes on `device`.
pub(super) fn on_device(device: Device, memory: u64) -> Resources {
    match device {
        Device::Cpu => Resources { memory, ..Resources::default() },
        Device::Cuda => Resources { memory: HOST, gpus: 1, ..Resources::default() },
    }
}
