//! Shared by the tests of this layer.

use candle_core::{Device, Result, Tensor};

use super::seeded::normal;

/// Normally distributed numbers, the same for the same seed.
pub fn random(shape: &[usize], seed: u64) -> Tensor {
    let numbers = normal(seed, "test", shape.iter().product(), 1.0);
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

/// Largest difference, relative to the largest number of `want`.
pub fn error(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims());
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let want = want.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let size = want.iter().fold(0f32, |a, b| a.max(b.abs()));
    let off =
        got.iter().zip(&want).fold(0f32, |a, (x, y)| if (x - y).is_nan() { f32::NAN } else { a.max((x - y).abs()) });
    if off == 0.0 { 0.0 } else { f64::from(off / size) }
}

#[track_caller]
pub fn assert_close(got: &Tensor, want: &Tensor, tolerance: f64) {
    let error = error(got, want);
    assert!(error <= tolerance, "relative error {error:.2e}, allowed {tolerance:.0e}");
}

/// Compares `gradient` with central differences of `f` (f32, so coarsely) at a dozen places.
#[track_caller]
pub fn assert_gradient(x: &Tensor, gradient: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) {
    const STEP: f32 = 1e-2;
    let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let size = gradient.iter().fold(0f32, |a, b| a.max(b.abs()));
    assert!(size > 0.0, "no gradient at all");
    let at = |i: usize, step: f32| {
        let mut moved = values.clone();
        moved[i] += step;
        let moved = Tensor::from_vec(moved, x.shape(), x.device()).unwrap();
        f(&moved).unwrap().to_scalar::<f32>().unwrap()
    };
    for i in (0..values.len()).step_by(values.len().div_ceil(12)) {
        let measured = (at(i, STEP) - at(i, -STEP)) / (2.0 * STEP);
        let off = (measured - gradient[i]).abs();
        assert!(off <= 2e-2 * size, "element {i}: measured {measured}, computed {}", gradient[i]);
    }
}

/// Runs `f` in a pool of its own.
pub fn with_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}
