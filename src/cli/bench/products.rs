//! Matrix products alone: the ceiling that shares of arithmetic are taken of, and those of a decoder's layer.

use candle_core::{DType, Device as Opened, Tensor};
use serde_json::{Value, json};

use super::figures::rate;
use crate::{
    base::{error::Result, machine::Device},
    models::{
        Dims, Dtype,
        device::{self, Mark},
        ops::{gemm, uniform},
    },
};

/// What is done before anything is measured.
const WARMUP: usize = 2;

/// Bound of the numbers that are multiplied.
const BOUND: f32 = 1.0;

/// `bench matmul`: square matrices.
///
/// # Errors
/// If the device can't do it.
pub fn square(device: Device, dtype: Dtype, size: usize, repeats: usize) -> Result<Value> {
    let opened = device::open(device)?;
    Ok(json!({
        "program": "emopipe", "what": "matmul", "device": device.name(), "device_name": device::name(&opened)?,
        "dtype": dtype.name(), "size": size, "tflops": ceiling(&opened, dtype, size, repeats)?,
    }))
}

/// Teraflops of the vendor's product of two square matrices.
///
/// # Errors
/// If the device can't do it.
pub fn ceiling(device: &Opened, dtype: Dtype, size: usize, repeats: usize) -> Result<f64> {
    let matrix = |name| uniform::matrix(name, &[size, size], BOUND, dtype.into(), device);
    let (a, b) = (matrix("a")?, matrix("b")?);
    teraflops(device, 2.0 * (size as f64).powi(3), repeats, || a.matmul(&b))
}

/// The four products of a layer with `rows` rows, forwards (with the transposed matrix) and for the gradient of what it reads.
///
/// # Errors
/// If the device can't do it.
pub fn of_layer(device: &Opened, dtype: Dtype, dims: &Dims, rows: usize, repeats: usize) -> Result<Vec<Value>> {
    let matrices = [
        ("queries, keys and values", dims.hidden, dims.q_width() + 2 * dims.kv_width()),
        ("after attention", dims.q_width(), dims.hidden),
        ("gate and up", dims.hidden, 2 * dims.intermediate),
        ("down", dims.intermediate, dims.hidden),
    ];
    // As in training: a GPU reads rows in the matrices' format, a CPU in f32.
    let read = if device.is_cpu() { DType::F32 } else { dtype.into() };
    let mut lines = Vec::new();
    for (name, inputs, outputs) in matrices {
        let weight = uniform::matrix(name, &[outputs, inputs], BOUND, dtype.into(), device)?;
        let operations = 2.0 * rows as f64 * inputs as f64 * outputs as f64;
        for (direction, width, side) in [("forward", inputs, weight.t()?), ("backward", outputs, weight.clone())] {
            let x = uniform::matrix("x", &[rows, width], BOUND, read, device)?;
            let tflops = teraflops(device, operations, repeats, || gemm::product(&x, &side, 1.0))?;
            lines.push(json!({
                "product": name, "direction": direction, "rows": rows, "inputs": inputs, "outputs": outputs,
                "tflops": tflops,
            }));
        }
    }
    Ok(lines)
}

fn teraflops(
    device: &Opened,
    operations: f64,
    repeats: usize,
    product: impl Fn() -> candle_core::Result<Tensor>,
) -> Result<f64> {
    let products = |count: usize| (0..count).try_for_each(|_| product().map(drop));
    products(WARMUP)?;
    let begun = Mark::new(device)?;
    products(repeats)?;
    let seconds = begun.seconds_until(&Mark::new(device)?)?;
    Ok(rate(operations * repeats as f64 / 1e12, seconds))
}
