//! Matrix products by cuBLAS.

use candle_core::{
    CudaDevice, CudaStorage, DType, Error, Layout, Result,
    backend::BackendStorage,
    cuda_backend::cudarc::cublas::{
        result,
        sys::{self, cublasOperation_t as Operation, cudaDataType_t as Format},
    },
};
use half::bf16;

use super::{ELEMENTWISE, Pointer, alloc, bind, launch, over_rows, start};
use crate::models::ops::strides::Strides;

const GAPS: &str = "no products of a matrix whose rows and columns both have gaps";

/// A matrix on the device: element `(i, j)` lies `i * strides.rows + j * strides.columns` numbers behind `pointer`.
#[derive(Clone, Copy)]
pub struct Matrix {
    pub pointer: Pointer,
    pub dtype: DType,
    pub rows: usize,
    pub columns: usize,
    pub strides: Strides,
}

/// Which way a matrix lies in memory, as columns one after the other: cuBLAS's view.
struct View {
    pointer: Pointer,
    format: Format,
    /// Of the transpose of the row-major matrix, which is what cuBLAS sees: as it is, or turned.
    operation: Operation,
    pitch: usize,
}

impl Matrix {
    /// `[rows, columns]`, row by row.
    pub fn f32(pointer: Pointer, rows: usize, columns: usize) -> Self {
        Self { pointer, dtype: DType::F32, rows, columns, strides: Strides { rows: columns, columns: 1 } }
    }

    /// `[rows, columns]` of a storage, whatever its strides.
    ///
    /// # Errors
    /// If it isn't a matrix, or its numbers are neither f32 nor bf16 nor f16.
    pub fn of(storage: &CudaStorage, layout: &Layout) -> Result<Self> {
        let (rows, columns) = layout.shape().dims2()?;
        let stride = layout.stride();
        let pointer = start(storage)?;
        let at = layout.start_offset();
        let pointer = match storage.dtype() {
            DType::F32 => pointer.offset::<f32>(at),
            _ => pointer.offset::<bf16>(at),
        };
        let strides = Strides { rows: stride[0], columns: stride[1] };
        Ok(Self { pointer, dtype: storage.dtype(), rows, columns, strides })
    }

    /// The transpose, in place.
    pub fn transposed(self) -> Self {
        let strides = Strides { rows: self.strides.columns, columns: self.strides.rows };
        Self { rows: self.columns, columns: self.rows, strides, ..self }
    }

    fn is_row_major(&self) -> bool {
        self.strides.columns == 1 || self.columns == 1
    }

    fn view(&self) -> Result<View> {
        let (operation, pitch, least) = if self.is_row_major() {
            (Operation::CUBLAS_OP_N, self.strides.rows, self.columns)
        } else if self.strides.rows == 1 || self.rows == 1 {
            (Operation::CUBLAS_OP_T, self.strides.columns, self.rows)
        } else {
            return Err(Error::msg(GAPS));
        };
        let format = match self.dtype {
            DType::F32 => Format::CUDA_R_32F,
            DType::BF16 => Format::CUDA_R_16BF,
            other => candle_core::bail!("CUDA devices compute with f32 and bf16, not {}", other.as_str()),
        };
        Ok(View { pointer: self.pointer, format, operation, pitch: pitch.max(least) })
    }
}

/// `c = scale * a b`, or `c += ...`, `[m, k] x [k, n]`, where the rows of `c` (f32) are `c_pitch` numbers apart. Beside a
/// `b` in bf16, an `a` in f32 is rounded to bf16.
///
/// # Errors
/// If `a` has another number of columns than `b` rows, a matrix is neither f32 nor bf16 or has gaps in both directions,
/// or the device fails.
pub fn multiply(
    device: &CudaDevice,
    c: Pointer,
    c_pitch: usize,
    accumulate: bool,
    a: Matrix,
    b: Matrix,
    scale: f32,
) -> Result<()> {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    if b.rows != k {
        candle_core::bail!("[{m}, {k}] x [{}, {n}] isn't a product", b.rows)
    }
    if m == 0 || n == 0 {
        return Ok(());
    }
    // Lives until the product is enqueued; the memory is used again only by what is enqueued later.
    let mut rounded = None;
    let a = match (a.dtype, b.dtype) {
        (DType::F32, DType::BF16) => {
            let lying = if a.is_row_major() { a } else { a.transposed() };
            if !lying.is_row_major() {
                return Err(Error::msg(GAPS));
            }
            let copy = alloc::<bf16>(device, m * k)?;
            let pointer = Pointer::of(&copy);
            rounded = Some(copy);
            launch!(
                device,
                ELEMENTWISE,
                "to_bf16",
                over_rows(lying.rows, lying.columns),
                (lying.pointer, lying.strides.rows, pointer, lying.rows, lying.columns)
            );
            let strides = Strides { rows: lying.columns, columns: 1 };
            let lying = Matrix { pointer, dtype: DType::BF16, strides, ..lying };
            if a.is_row_major() { lying } else { lying.transposed() }
        }
        _ => a,
    };
    let (a, b) = (a.view()?, b.view()?);
    let int = |size: usize| i32::try_from(size).map_err(|_| Error::msg(format!("a product of size {size}")));
    let beta = if accumulate { 1f32 } else { 0.0 };
    bind(device)?;
    let blas = device.cublas_handle();
    // What cuBLAS calls `C` is our result's transpose, `b^T a^T`.
    // SAFETY: sizes and pitches are those of the matrices; all lie on this device.
    let done = unsafe {
        result::gemm_ex(
            *blas.handle(),
            b.operation,
            a.operation,
            int(n)?,
            int(m)?,
            int(k)?,
            (&raw const scale).cast(),
            b.pointer.0 as *const _,
            b.format,
            int(b.pitch)?,
            a.pointer.0 as *const _,
            a.format,
            int(a.pitch)?,
            (&raw const beta).cast(),
            c.0 as *mut _,
            Format::CUDA_R_32F,
            int(c_pitch.max(n))?,
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
    };
    drop(rounded);
    done.map_err(|e| Error::msg(format!("cuBLAS can't multiply [{m}, {k}] by [{k}, {n}]: {e:?}")))
}
