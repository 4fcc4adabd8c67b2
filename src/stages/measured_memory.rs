//! What an action took of memory, beside what was planned.

use crate::{base::machine::peak_memory, engine::Progress, estimate::Parts, models::device};

/// Notes what was planned and what was taken, in bytes, where it can be compared afterwards.
pub(super) fn measure_memory(planned: &Parts, device: &candle_core::Device, progress: &dyn Progress) {
    progress.measure("planned_memory_bytes", planned.total() as f64);
    if let Some(bytes) = peak_memory() {
        progress.measure("peak_memory_bytes", bytes as f64);
    }
    if let Some(peak) = device::peak(device) {
        progress.measure("peak_device_memory_bytes", peak.used as f64);
    }
}
