//! Matrix products into an existing buffer. The right side may be in half precision: blocks of it are converted to f32 on
//! the way, so that the numbers are those of an f32 matrix with the same values.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor};
use gemm::Parallelism;
use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use super::Shared;

/// Products with fewer multiplications than this aren't worth a second thread.
const PARALLEL_FROM: usize = 1 << 20;

/// A block handed to a thread has at least this many rows or columns, and starts at a multiple of it. Above 64 the
/// library cuts the inner dimension in the same places whatever the block's size, which keeps the bits independent of
/// how the product is shared out.
const BLOCK: usize = 96;

/// A matrix in memory: element `(i, j)` lies at `offset + i * rows + j * columns`.
#[derive(Clone, Copy)]
pub struct Strides {
    pub rows: usize,
    pub columns: usize,
}

/// Row-major, with `width` numbers from row to row.
pub fn row_major(width: usize) -> Strides {
    Strides { rows: width, columns: 1 }
}

/// The transpose of a row-major matrix.
pub fn transposed(width: usize) -> Strides {
    Strides { rows: 1, columns: width }
}

fn extent(rows: usize, columns: usize, s: Strides) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * s.rows + (columns - 1) * s.columns + 1 }
}

/// `dst = scale * a b`, or `dst += ...`; `[m, k] x [k, n]`. On the calling thread.
#[expect(clippy::too_many_arguments, reason = "the operands of a matrix product")]
pub fn multiply(
    (m, n, k): (usize, usize, usize),
    dst: &mut [f32],
    dst_strides: Strides,
    accumulate: bool,
    a: &[f32],
    a_strides: Strides,
    b: &[f32],
    b_strides: Strides,
    scale: f32,
) {
    assert!(extent(m, n, dst_strides) <= dst.len(), "destination of a product is too small");
    assert!(extent(m, k, a_strides) <= a.len(), "left side of a product is too small");
    assert!(extent(k, n, b_strides) <= b.len(), "right side of a product is too small");
    // SAFETY: every element lies in its slice, as just checked, and `dst` is borrowed mutably.
    unsafe {
        call((m, n, k), dst.as_mut_ptr(), dst_strides, accumulate, a.as_ptr(), a_strides, b.as_ptr(), b_strides, scale)
    }
}

/// # Safety
/// Every element of the three matrices must be in bounds, and nobody else may touch `dst`.
#[expect(clippy::too_many_arguments, reason = "the operands of a matrix product")]
unsafe fn call(
    (m, n, k): (usize, usize, usize),
    dst: *mut f32,
    ds: Strides,
    accumulate: bool,
    a: *const f32,
    sa: Strides,
    b: *const f32,
    sb: Strides,
    scale: f32,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst,
            ds.columns as isize,
            ds.rows as isize,
            accumulate,
            a,
            sa.columns as isize,
            sa.rows as isize,
            b,
            sb.columns as isize,
            sb.rows as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// As [`multiply`], shared out over the threads of the current pool.
#[expect(clippy::too_many_arguments, reason = "the operands of a matrix product")]
pub fn multiply_parallel(
    (m, n, k): (usize, usize, usize),
    dst: &mut [f32],
    ds: Strides,
    accumulate: bool,
    a: &[f32],
    sa: Strides,
    b: &[f32],
    sb: Strides,
    scale: f32,
) {
    let threads = rayon::current_num_threads();
    let longer = m.max(n);
    if threads == 1 || m * n * k < PARALLEL_FROM || longer < 2 * BLOCK {
        return multiply((m, n, k), dst, ds, accumulate, a, sa, b, sb, scale);
    }
    assert!(extent(m, n, ds) <= dst.len(), "destination of a product is too small");
    assert!(extent(m, k, sa) <= a.len(), "left side of a product is too small");
    assert!(extent(k, n, sb) <= b.len(), "right side of a product is too small");
    let blocks = longer / BLOCK;
    let tasks = blocks.min(threads);
    let target = Shared(dst.as_mut_ptr());
    (0..tasks).into_par_iter().for_each(|t| {
        let from = blocks * t / tasks * BLOCK;
        let to = if t + 1 == tasks { longer } else { blocks * (t + 1) / tasks * BLOCK };
        // SAFETY: bounds were checked for the whole; tasks write disjoint rows or columns.
        unsafe {
            if n >= m {
                let dst = target.at(from * ds.columns);
                let b = b.as_ptr().add(from * sb.columns);
                call((m, to - from, k), dst, ds, accumulate, a.as_ptr(), sa, b, sb, scale);
            } else {
                let dst = target.at(from * ds.rows);
                let a = a.as_ptr().add(from * sa.rows);
                call((to - from, n, k), dst, ds, accumulate, a, sa, b.as_ptr(), sb, scale);
            }
        }
    });
}

/// Numbers of a half-precision matrix that are held in f32 at once.
const PANEL: usize = 1 << 22;

/// A frozen matrix in the format that it is kept in.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    F16(&'a [f16]),
}

impl<'a> Numbers<'a> {
    pub fn of(storage: &'a CpuStorage) -> Result<Self> {
        match storage {
            CpuStorage::F32(all) => Ok(Self::F32(all)),
            CpuStorage::BF16(all) => Ok(Self::Bf16(all)),
            CpuStorage::F16(all) => Ok(Self::F16(all)),
            other => candle_core::bail!(
                "no products with a matrix of {}",
                candle_core::backend::BackendStorage::dtype(other).as_str()
            ),
        }
    }

    pub fn len(self) -> usize {
        match self {
            Self::F32(all) => all.len(),
            Self::Bf16(all) => all.len(),
            Self::F16(all) => all.len(),
        }
    }

    pub fn slice(self, from: usize, to: usize) -> Self {
        match self {
            Self::F32(all) => Self::F32(&all[from..to]),
            Self::Bf16(all) => Self::Bf16(&all[from..to]),
            Self::F16(all) => Self::F16(&all[from..to]),
        }
    }

    fn convert(self, to: &mut [f32]) {
        match self {
            Self::F32(all) => to.copy_from_slice(all),
            Self::Bf16(all) => to.iter_mut().zip(all).for_each(|(y, x)| *y = x.to_f32()),
            Self::F16(all) => all.convert_to_f32_slice(to),
        }
    }

    /// All of it in f32; `scratch` holds it where it has to be converted.
    pub fn to_f32(self, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        if let Self::F32(all) = self {
            return all;
        }
        scratch.resize(self.len(), 0.0);
        scratch.par_chunks_mut(super::GRAIN).enumerate().for_each(|(i, to)| {
            let from = i * super::GRAIN;
            self.slice(from, from + to.len()).convert(to);
        });
        scratch
    }

    /// `rows` runs of `len` numbers that begin `stride` apart, one after the other in `scratch`.
    fn gather(self, rows: usize, stride: usize, len: usize, scratch: &mut Vec<f32>) {
        scratch.resize(rows * len, 0.0);
        if len == 0 {
            return;
        }
        let group = super::rows_per_task(len);
        scratch.par_chunks_mut(group * len).enumerate().for_each(|(i, to)| {
            for (j, to) in to.chunks_exact_mut(len).enumerate() {
                let from = (i * group + j) * stride;
                self.slice(from, from + len).convert(to);
            }
        });
    }
}

/// As [`multiply_parallel`], over blocks of `b`'s columns. They begin at multiples of [`BLOCK`], so the bits are those of
/// one product in f32.
#[expect(clippy::too_many_arguments, reason = "the operands of a matrix product")]
fn multiply_by_halves(
    (m, n, k): (usize, usize, usize),
    dst: &mut [f32],
    ds: Strides,
    accumulate: bool,
    a: &[f32],
    sa: Strides,
    b: Numbers,
    sb: Strides,
    scale: f32,
) -> Result<()> {
    if sb.rows != 1 && sb.columns != 1 {
        candle_core::bail!("a matrix in half precision with strides {} and {}", sb.rows, sb.columns)
    }
    assert!(extent(m, n, ds) <= dst.len(), "destination of a product is too small");
    assert!(extent(k, n, sb) <= b.len(), "right side of a product is too small");
    let width = (PANEL / k.max(1) / BLOCK).max(1) * BLOCK;
    let mut scratch = Vec::new();
    let mut from = 0;
    while from < n {
        // What would be left is no block of its own.
        let len = if n - from < width + BLOCK { n - from } else { width };
        let start = from * sb.columns;
        let b = b.slice(start, start + extent(k, len, sb));
        let sb = if sb.columns == 1 {
            b.gather(k, sb.rows, len, &mut scratch);
            row_major(len)
        } else {
            b.gather(len, sb.columns, k, &mut scratch);
            transposed(k)
        };
        multiply_parallel((m, len, k), &mut dst[from * ds.columns..], ds, accumulate, a, sa, &scratch, sb, scale);
        from += len;
    }
    Ok(())
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
        match b {
            Numbers::F32(b) => {
                multiply_parallel((m, n, k), dst, ds, self.accumulate, a, sa, b, sb, self.scale);
                Ok(())
            }
            halves => multiply_by_halves((m, n, k), dst, ds, self.accumulate, a, sa, halves, sb, self.scale),
        }
    }
}

/// `dst = scale * a b`, with any strides; `b` may be in half precision if its rows or columns are dense. `dst` must share its storage with neither side.
pub fn set(dst: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> Result<()> {
    dst.inplace_op3(a, b, &Gemm { scale: scale as f32, accumulate: false })
}

/// `dst += scale * a b`
pub fn add(dst: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> Result<()> {
    dst.inplace_op3(a, b, &Gemm { scale: scale as f32, accumulate: true })
}

/// `scale * a b`
pub fn product(a: &Tensor, b: &Tensor, scale: f64) -> Result<Tensor> {
    let dst = Tensor::zeros((a.dim(0)?, b.dim(1)?), a.dtype(), a.device())?;
    set(&dst, a, b, scale)?;
    Ok(dst)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::models::testing::{assert_close, random, with_threads};

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
        for (rows, outputs, inputs) in [(33, 500, 70), (1, 6000, 1500), (300, 4000, 2200), (9, 200, 90_000)] {
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
