//! Matrix products into an existing buffer.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor};
use gemm::Parallelism;
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
        let (a, b) = (a.as_slice::<f32>()?, b.as_slice::<f32>()?);
        let (dst, a, b) = (&mut dst[dst_from..], &a[a_from..], &b[b_from..]);
        multiply_parallel((m, n, k), dst, ds, self.accumulate, a, sa, b, sb, self.scale);
        Ok(())
    }
}

/// `dst = scale * a b`, with any strides; `dst` must share its storage with neither side.
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
