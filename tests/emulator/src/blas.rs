//! cuBLAS: matrix products in plain loops, with sums in single precision (double for doubles).

use crate::driver::check;
use crate::late;
use half::{bf16, f16};
use rayon::prelude::*;
use std::ffi::{c_char, c_int, c_longlong, c_void};

type Status = u32;
const SUCCESS: Status = 0;
const INVALID_VALUE: Status = 7;
const EXECUTION_FAILED: Status = 13;
const NOT_SUPPORTED: Status = 15;

const R_32F: u32 = 0;
const R_64F: u32 = 1;
const R_16F: u32 = 2;
const R_16BF: u32 = 14;

#[derive(Default)]
struct Handle {
    math: u32,
    pointer_mode: u32,
}

/// A matrix by columns: element (row, column) is at `row + column * ld`.
#[derive(Clone, Copy)]
struct Matrix {
    base: u64,
    ty: u32,
    ld: usize,
    stride: i64,
}

impl Matrix {
    fn size(self) -> usize {
        match self.ty {
            R_64F => 8,
            R_32F => 4,
            _ => 2,
        }
    }
    unsafe fn get(self, batch: usize, row: usize, column: usize) -> f64 {
        let at = (batch as i64 * self.stride) as usize + row + column * self.ld;
        let p = self.base as usize + at * self.size();
        // SAFETY: the caller has checked the matrix's extent.
        unsafe {
            match self.ty {
                R_64F => *(p as *const f64),
                R_32F => f64::from(*(p as *const f32)),
                R_16F => (*(p as *const f16)).to_f64(),
                _ => (*(p as *const bf16)).to_f64(),
            }
        }
    }
    unsafe fn set(self, batch: usize, row: usize, column: usize, v: f64) {
        let at = (batch as i64 * self.stride) as usize + row + column * self.ld;
        let p = self.base as usize + at * self.size();
        // SAFETY: the caller has checked the matrix's extent.
        unsafe {
            match self.ty {
                R_64F => *(p as *mut f64) = v,
                R_32F => *(p as *mut f32) = v as f32,
                R_16F => *(p as *mut f16) = f16::from_f32(v as f32),
                _ => *(p as *mut bf16) = bf16::from_f32(v as f32),
            }
        }
    }
    fn check(self, what: &str, rows: usize, columns: usize, batches: usize) -> Result<(), Status> {
        if !matches!(self.ty, R_32F | R_64F | R_16F | R_16BF) {
            eprintln!("cuda-emulator: {what}: data type {} isn't supported", self.ty);
            return Err(NOT_SUPPORTED);
        }
        if rows == 0 || columns == 0 {
            return Ok(());
        }
        if self.ld < rows {
            eprintln!("cuda-emulator: {what}: a leading dimension of {} is less than {rows} rows", self.ld);
            return Err(INVALID_VALUE);
        }
        if !self.base.is_multiple_of(self.size() as u64) {
            eprintln!("cuda-emulator: {what}: {:#x} is misaligned", self.base);
            return Err(INVALID_VALUE);
        }
        for batch in 0..batches {
            let start = self.base as i64 + batch as i64 * self.stride * self.size() as i64;
            check(what, start as u64, ((columns - 1) * self.ld + rows) * self.size()).map_err(|_| EXECUTION_FAILED)?;
        }
        Ok(())
    }
}

/// `c = alpha op(a) op(b) + beta c` for every batch; `double` sums in double precision.
#[allow(clippy::too_many_arguments)]
fn gemm(
    what: &str,
    ta: u32,
    tb: u32,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: f64,
    a: Matrix,
    b: Matrix,
    beta: f64,
    c: Matrix,
    batches: c_int,
    double: bool,
) -> Status {
    late::go_on();
    if m < 0 || n < 0 || k < 0 || batches < 0 || ta > 2 || tb > 2 {
        eprintln!("cuda-emulator: {what}: m {m}, n {n}, k {k}, batches {batches}, operations {ta} and {tb}");
        return INVALID_VALUE;
    }
    let (m, n, k, batches) = (m as usize, n as usize, k as usize, batches as usize);
    let shape = |t: u32, rows: usize, columns: usize| if t == 0 { (rows, columns) } else { (columns, rows) };
    let (ar, ac) = shape(ta, m, k);
    let (br, bc) = shape(tb, k, n);
    let checked = a
        .check(&format!("{what}, matrix A"), ar, ac, batches)
        .and_then(|()| b.check(&format!("{what}, matrix B"), br, bc, batches))
        .and_then(|()| c.check(&format!("{what}, matrix C"), m, n, batches));
    if let Err(e) = checked {
        return e;
    }
    for batch in 0..batches {
        // SAFETY: every index stays inside the extents that were checked; columns of C are apart from each other.
        let by_rows: Vec<f64> = (0..m * k)
            .map(|i| unsafe { if ta == 0 { a.get(batch, i / k, i % k) } else { a.get(batch, i % k, i / k) } })
            .collect();
        let single: Vec<f32> = by_rows.iter().map(|&v| v as f32).collect();
        (0..n).into_par_iter().for_each(|j| {
            // SAFETY: as above.
            let column: Vec<f64> =
                (0..k).map(|i| unsafe { if tb == 0 { b.get(batch, i, j) } else { b.get(batch, j, i) } }).collect();
            let narrow: Vec<f32> = column.iter().map(|&v| v as f32).collect();
            for i in 0..m {
                let sum = if double {
                    by_rows[i * k..(i + 1) * k].iter().zip(&column).map(|(x, y)| x * y).sum::<f64>()
                } else {
                    f64::from(dot(&single[i * k..(i + 1) * k], &narrow))
                };
                // SAFETY: as above.
                unsafe {
                    let old = if beta == 0.0 { 0.0 } else { beta * c.get(batch, i, j) };
                    c.set(batch, i, j, alpha * sum + old);
                }
            }
        });
    }
    SUCCESS
}

/// A scalar product in eight partial sums.
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (xs, ys) = (x.chunks_exact(8), y.chunks_exact(8));
    let tail: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(a, b)| a * b).sum();
    for (x, y) in xs.zip(ys) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f32>() + tail
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasCreate_v2(handle: *mut *mut c_void) -> Status {
    // SAFETY: the caller passes a place for the handle.
    unsafe { *handle = Box::into_raw(Box::<Handle>::default()).cast() };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cublasDestroy_v2(handle: *mut c_void) -> Status {
    // SAFETY: `cublasCreate_v2` made it.
    drop(unsafe { Box::from_raw(handle.cast::<Handle>()) });
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cublasSetStream_v2(_h: *mut c_void, _s: *mut c_void) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cublasSetMathMode(h: *mut c_void, mode: u32) -> Status {
    // SAFETY: `cublasCreate_v2` made it.
    unsafe { (*h.cast::<Handle>()).math = mode };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cublasGetMathMode(h: *mut c_void, mode: *mut u32) -> Status {
    // SAFETY: `cublasCreate_v2` made the handle; the caller passes a place for the mode.
    unsafe { *mode = (*h.cast::<Handle>()).math };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cublasSetPointerMode_v2(h: *mut c_void, mode: u32) -> Status {
    // SAFETY: `cublasCreate_v2` made it. Host and device pointers are read the same way.
    unsafe { (*h.cast::<Handle>()).pointer_mode = mode };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cublasGetPointerMode_v2(h: *mut c_void, mode: *mut u32) -> Status {
    // SAFETY: `cublasCreate_v2` made the handle; the caller passes a place for the mode.
    unsafe { *mode = (*h.cast::<Handle>()).pointer_mode };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cublasSetWorkspace_v2(_h: *mut c_void, _p: *mut c_void, _n: usize) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cublasGetVersion_v2(_h: *mut c_void, v: *mut c_int) -> Status {
    // SAFETY: the caller passes a place for the version.
    unsafe { *v = 130_000 };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cublasGetStatusName(_s: Status) -> *const c_char {
    c"CUBLAS_STATUS (emulator)".as_ptr()
}
#[unsafe(no_mangle)]
pub extern "C" fn cublasGetStatusString(_s: Status) -> *const c_char {
    c"see the emulator's message".as_ptr()
}

macro_rules! plain {
    ($single:ident, $batched:ident, $t:ty, $ty:expr) => {
        #[unsafe(no_mangle)]
        pub extern "C" fn $single(
            _h: *mut c_void,
            ta: u32,
            tb: u32,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: *const $t,
            a: u64,
            lda: c_int,
            b: u64,
            ldb: c_int,
            beta: *const $t,
            c: u64,
            ldc: c_int,
        ) -> Status {
            $batched(_h, ta, tb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1)
        }
        #[unsafe(no_mangle)]
        pub extern "C" fn $batched(
            _h: *mut c_void,
            ta: u32,
            tb: u32,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: *const $t,
            a: u64,
            lda: c_int,
            sa: c_longlong,
            b: u64,
            ldb: c_int,
            sb: c_longlong,
            beta: *const $t,
            c: u64,
            ldc: c_int,
            sc: c_longlong,
            batches: c_int,
        ) -> Status {
            let matrix = |base, ld: c_int, stride| Matrix { base, ty: $ty, ld: ld.max(0) as usize, stride };
            // SAFETY: the caller passes both scalars.
            let (alpha, beta) = unsafe { (f64::from(*alpha), f64::from(*beta)) };
            gemm(
                stringify!($batched),
                ta,
                tb,
                m,
                n,
                k,
                alpha,
                matrix(a, lda, sa),
                matrix(b, ldb, sb),
                beta,
                matrix(c, ldc, sc),
                batches,
                $ty == R_64F,
            )
        }
    };
}
plain!(cublasSgemm_v2, cublasSgemmStridedBatched, f32, R_32F);
plain!(cublasDgemm_v2, cublasDgemmStridedBatched, f64, R_64F);

#[unsafe(no_mangle)]
pub extern "C" fn cublasGemmEx(
    h: *mut c_void,
    ta: u32,
    tb: u32,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const c_void,
    a: u64,
    at: u32,
    lda: c_int,
    b: u64,
    bt: u32,
    ldb: c_int,
    beta: *const c_void,
    c: u64,
    ct: u32,
    ldc: c_int,
    compute: u32,
    algorithm: c_int,
) -> Status {
    cublasGemmStridedBatchedEx(
        h, ta, tb, m, n, k, alpha, a, at, lda, 0, b, bt, ldb, 0, beta, c, ct, ldc, 0, 1, compute, algorithm,
    )
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasGemmStridedBatchedEx(
    _h: *mut c_void,
    ta: u32,
    tb: u32,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const c_void,
    a: u64,
    at: u32,
    lda: c_int,
    sa: c_longlong,
    b: u64,
    bt: u32,
    ldb: c_int,
    sb: c_longlong,
    beta: *const c_void,
    c: u64,
    ct: u32,
    ldc: c_int,
    sc: c_longlong,
    batches: c_int,
    compute: u32,
    _algorithm: c_int,
) -> Status {
    // SAFETY: the caller passes both scalars in the type of the sums.
    let scalar = |p: *const c_void| unsafe {
        match compute {
            64 | 65 => (*p.cast::<f16>()).to_f64(),
            70 | 71 => *p.cast::<f64>(),
            _ => f64::from(*p.cast::<f32>()),
        }
    };
    if !matches!(compute, 64 | 65 | 68..=71 | 74..=77) || at != bt {
        eprintln!("cuda-emulator: cublasGemmEx: types {at}, {bt}, {ct} with sums of type {compute} aren't supported");
        return NOT_SUPPORTED;
    }
    let matrix = |base, ty, ld: c_int, stride| Matrix { base, ty, ld: ld.max(0) as usize, stride };
    gemm(
        "cublasGemmEx",
        ta,
        tb,
        m,
        n,
        k,
        scalar(alpha),
        matrix(a, at, lda, sa),
        matrix(b, bt, ldb, sb),
        scalar(beta),
        matrix(c, ct, ldc, sc),
        batches,
        compute == 70 || compute == 71,
    )
}
