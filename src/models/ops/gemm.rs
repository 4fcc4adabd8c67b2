//! Matrix products into an existing buffer. The right side may be in half precision: it is converted to f32 on the way, so
//! that the numbers are those of an f32 matrix with the same values.

mod kernel;
mod simd;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor};
use rayon::prelude::*;

use self::kernel::Product;
use super::{buffers, numbers::Numbers, strides::Strides};

/// Products with fewer multiplications than this aren't worth a second thread.
const PARALLEL_FROM: usize = 1 << 19;

/// Columns and rows are shared out in multiples of this, which is a multiple of every tile's width and height.
const UNIT: usize = 48;

fn extent(rows: usize, columns: usize, s: Strides) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * s.rows + (columns - 1) * s.columns + 1 }
}

/// `dst = scale * a b`, or `dst += ...`; `[m, k] x [k, n]`. On the calling thread.
#[expect(clippy::too_many_arguments, reason = "the operands of a matrix product")]
pub fn multiply(
    shape: (usize, usize, usize),
    dst: &mut [f32],
    dst_strides: Strides,
    accumulate: bool,
    a: &[f32],
    a_strides: Strides,
    b: &[f32],
    b_strides: Strides,
    scale: f32,
) {
    let product = checked(shape, dst, dst_strides, accumulate, a, a_strides, Numbers::F32(b), b_strides, scale);
    // SAFETY: every element is in bounds, and `dst` is borrowed mutably.
    unsafe { product.compute() }
}

/// As [`multiply`], `[m, k] x [k, n]`, shared out over the threads of the current pool.
#[expect(clippy::too_many_arguments, reason = "the operands of a matrix product")]
pub fn multiply_parallel(
    shape @ (m, n, k): (usize, usize, usize),
    dst: &mut [f32],
    dst_strides: Strides,
    accumulate: bool,
    a: &[f32],
    a_strides: Strides,
    b: Numbers,
    b_strides: Strides,
    scale: f32,
) {
    let product = checked(shape, dst, dst_strides, accumulate, a, a_strides, b, b_strides, scale);
    let threads = rayon::current_num_threads();
    if threads == 1 || m * n * k < PARALLEL_FROM {
        // SAFETY: every element is in bounds, and `dst` is borrowed mutably.
        return unsafe { product.compute() };
    }
    // More tasks than threads, so that a thread that is held up doesn't hold up the others. Columns first: a task copies the
    // columns that it works on, and reads the rows in place.
    let tasks = 2 * threads;
    let columns = n.div_ceil(UNIT).div_ceil(tasks) * UNIT;
    let across = n.div_ceil(columns);
    let rows = m.div_ceil(UNIT).div_ceil(tasks.div_ceil(across)) * UNIT;
    let down = m.div_ceil(rows);
    (0..across * down).into_par_iter().for_each(|task| {
        let (row, column) = (task / across * rows, task % across * columns);
        let part = product.part(row..(row + rows).min(m), column..(column + columns).min(n));
        // SAFETY: as above, and parts of different tasks don't overlap.
        unsafe { part.compute() }
    });
}

#[expect(clippy::too_many_arguments, reason = "the operands of a matrix product")]
fn checked<'a>(
    shape @ (m, n, k): (usize, usize, usize),
    dst: &mut [f32],
    c_strides: Strides,
    accumulate: bool,
    a: &[f32],
    a_strides: Strides,
    b: Numbers<'a>,
    b_strides: Strides,
    scale: f32,
) -> Product<'a> {
    assert!(extent(m, n, c_strides) <= dst.len(), "destination of a product is too small");
    assert!(extent(m, k, a_strides) <= a.len(), "left side of a product is too small");
    assert!(extent(k, n, b_strides) <= b.len(), "right side of a product is too small");
    Product { shape, c: dst.as_mut_ptr(), c_strides, accumulate, a: a.as_ptr(), a_strides, b, b_strides, scale }
}

struct Gemm {
    scale: f32,
    accumulate: bool,
}

fn operand(layout: &Layout) -> Result<(usize, usize, usize, Strides)> {
    let (rows, columns) = layout.shape().dims2()?;
    let stride = layout.stride();
    Ok((rows, columns, layout.start_offset(), Strides { rows: stride[0], columns: stride[1] }))
}

impl InplaceOp3 for Gemm {
    fn name(&self) -> &'static str {
        "gemm"
    }

    fn cpu_fwd(
        &self,
        dst: &mut CpuStorage,
        dst_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<()> {
        let (m, n, dst_from, ds) = operand(dst_layout)?;
        let (a_rows, k, a_from, sa) = operand(a_layout)?;
        let (b_rows, b_columns, b_from, sb) = operand(b_layout)?;
        if (a_rows, b_rows, b_columns) != (m, k, n) {
            candle_core::bail!("[{a_rows}, {k}] x [{b_rows}, {b_columns}] doesn't give [{m}, {n}]")
        }
        let CpuStorage::F32(dst) = dst else { candle_core::bail!("gemm computes in f32") };
        let (a, b) = (a.as_slice::<f32>()?, Numbers::of(b)?);
        let (dst, a, b) = (&mut dst[dst_from..], &a[a_from..], b.slice(b_from, b.len()));
        multiply_parallel((m, n, k), dst, ds, self.accumulate, a, sa, b, sb, self.scale);
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        dst: &mut CudaStorage,
        dst_layout: &Layout,
        a: &CudaStorage,
        a_layout: &Layout,
        b: &CudaStorage,
        b_layout: &Layout,
    ) -> Result<()> {
        use super::cuda::{
            Pointer,
            cublas::{Matrix, multiply},
        };
        let (m, n, dst_from, ds) = operand(dst_layout)?;
        let (a, b) = (Matrix::of(a, a_layout)?, Matrix::of(b, b_layout)?);
        if (a.rows, b.columns) != (m, n) || (ds.columns != 1 && n > 1) {
            candle_core::bail!("[{}, {}] x [{}, {}] doesn't give [{m}, {n}]", a.rows, a.columns, b.rows, b.columns)
        }
        let device = dst.device.clone();
        let c = Pointer::of_mut(dst.as_cuda_slice_mut::<f32>()?).offset::<f32>(dst_from);
        multiply(&device, c, ds.rows, self.accumulate, a, b, self.scale)
    }
}

/// `dst = scale * a b`, with any strides; `b` may be in half precision. `dst` must share its storage with neither side.
///
/// `dst` is `[m, n]`, `a` `[m, k]` and `b` `[k, n]`.
///
/// # Errors
/// If the shapes don't fit, `dst` or, on CPUs, `a` isn't f32, or the device fails.
pub fn set(dst: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> Result<()> {
    dst.inplace_op3(a, b, &Gemm { scale: scale as f32, accumulate: false })
}

/// `dst += scale * a b`, shapes as for [`set`]: `[m, k] x [k, n]`.
///
/// # Errors
/// As [`set`].
pub fn add(dst: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> Result<()> {
    dst.inplace_op3(a, b, &Gemm { scale: scale as f32, accumulate: true })
}

/// `scale * a b`, `[m, k] x [k, n]` to `[m, n]`.
///
/// # Errors
/// As [`set`].
pub fn product(a: &Tensor, b: &Tensor, scale: f64) -> Result<Tensor> {
    let dst = buffers::tensor((a.dim(0)?, b.dim(1)?), a.device())?;
    set(&dst, a, b, scale)?;
    Ok(dst)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::models::test_models::{assert_close, random, with_threads};

    #[test]
    fn agrees_with_candle_on_views() -> Result<()> {
        let x = random(&[37, 50], 1);
        let w = random(&[64, 50], 2);
        let wide = Tensor::zeros((37, 100), DType::F32, &Device::Cpu)?;
        set(&wide.narrow(1, 20, 64)?, &x, &w.t()?, 1.0)?;
        add(&wide.narrow(1, 20, 64)?, &x, &w.t()?, 0.5)?;
        let want = (x.matmul(&w.t()?)? * 1.5)?;
        assert_close(&wide.narrow(1, 20, 64)?, &want, 1e-5);
        assert_eq!(wide.narrow(1, 0, 20)?.abs()?.sum_all()?.to_scalar::<f32>()?, 0.0);
        assert_eq!(wide.narrow(1, 84, 16)?.abs()?.sum_all()?.to_scalar::<f32>()?, 0.0);
        assert_close(&product(&x.t()?, &x, 2.0)?, &(x.t()?.matmul(&x)? * 2.0)?, 1e-5);
        Ok(())
    }

    /// Forward and gradient, at sizes with one block and with several, and a rest.
    #[test]
    fn half_precision_gives_the_bits_of_the_same_numbers_in_f32() -> Result<()> {
        for (rows, outputs, inputs) in [(33, 500, 70), (1, 300, 400), (300, 200, 220), (9, 50, 1000)] {
            for dtype in [DType::BF16, DType::F16] {
                let w = (random(&[outputs, inputs], 4) * 0.1)?.to_dtype(dtype)?;
                let same = w.to_dtype(DType::F32)?;
                let (x, g) = (random(&[rows, inputs], 3), random(&[rows, outputs], 5));
                for threads in [1, 2] {
                    with_threads(threads, || {
                        let bits = |w: &Tensor| -> Result<(Vec<f32>, Vec<f32>)> {
                            let y = product(&x, &w.t()?, 1.0)?;
                            add(&y, &x, &w.t()?, 0.5)?;
                            let dx = product(&g, w, 1.0)?;
                            Ok((y.flatten_all()?.to_vec1()?, dx.flatten_all()?.to_vec1()?))
                        };
                        assert!(bits(&w)? == bits(&same)?, "{rows} x {outputs} x {inputs} in {dtype:?}");
                        Result::Ok(())
                    })?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn thread_count_does_not_change_bits() -> Result<()> {
        for (m, n, k) in [(520, 576, 1536), (33, 1000, 577), (700, 40, 300), (2, 5000, 576), (1, 4096, 576)] {
            let (x, w) = (random(&[m, k], 3), random(&[n, k], 4));
            let bits = |threads| with_threads(threads, || product(&x, &w.t()?, 1.0)?.flatten_all()?.to_vec1::<f32>());
            let one = bits(1)?;
            for threads in [2, 3, 5] {
                assert!(one == bits(threads)?, "{m} x {n} x {k} on {threads} threads");
            }
            let transposed =
                |threads| with_threads(threads, || product(&w, &x.t()?, 1.0)?.flatten_all()?.to_vec1::<f32>());
            assert!(transposed(1)? == transposed(2)?);
        }
        Ok(())
    }
}
