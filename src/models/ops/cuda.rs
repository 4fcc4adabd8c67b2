//! What the kernels' CUDA implementations share: modules compiled from `cuda/*.cu`, operands, launches.
//!
//! All work goes to the device's one stream (see [`crate::models::device`]), so that what was enqueued first is done first.
//! Numbers are f32 as on CPUs, but for products with a matrix that is kept in bf16 and for attention beside such matrices: their
//! operands are rounded to bf16 and their sums are f32. No kernel uses atomics, so the bits depend on the kind of device alone.

pub mod attention_kernels;
pub mod attention_lists;
pub mod cublas;
pub mod nll_kernels;
#[cfg(test)]
mod tests;

use candle_core::{
    CudaDevice, CudaStorage, DType, Layout, Result,
    backend::BackendStorage,
    cuda_backend::{
        CudaDType, WrapErr,
        cudarc::driver::{CudaFunction, CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, sys},
    },
};
use half::{bf16, f16};

/// Threads of a block where each works on numbers of its own, or on a share of a row.
pub const THREADS: u32 = 256;

/// Blocks of a launch that shares out an array: enough to fill any device.
const MOST_BLOCKS: usize = 4096;

/// Kernels of one source file.
pub struct Module {
    pub name: &'static str,
    pub ptx: &'static str,
}

/// Makes the device the calling thread's: modules, functions and products are for whatever device the thread has.
///
/// # Errors
/// If the driver fails.
pub fn bind(device: &CudaDevice) -> Result<()> {
    device.cuda_stream().context().bind_to_thread().w()
}

macro_rules! module {
    ($name:literal) => {
        Module { name: $name, ptx: include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx")) }
    };
}

pub const ADAMW: Module = module!("adamw");
pub const ATTENTION: Module = module!("attention");
pub const ELEMENTWISE: Module = module!("elementwise");
pub const NLL: Module = module!("nll");
pub const NORMS: Module = module!("norms");
pub const RANDOM: Module = module!("random");

impl Module {
    /// # Errors
    /// If the driver can't load the kernel.
    pub fn function(&self, device: &CudaDevice, name: &str) -> Result<CudaFunction> {
        bind(device)?;
        Ok(device.get_or_load_custom_func(name, self.name, self.ptx)?.into_cuda_function())
    }
}

/// Launches `kernel` of `module` with the arguments in parentheses: pointers ([`Pointer`]), numbers, plain structs.
macro_rules! launch {
    ($device:expr, $module:expr, $kernel:expr, $shape:expr, ($($argument:expr),* $(,)?)) => {{
        use candle_core::cuda_backend::cudarc::driver::PushKernelArg as _;
        let function = $module.function($device, $kernel)?;
        let stream = $device.cuda_stream();
        let mut arguments = stream.launch_builder(&function);
        candle_core::builder_arg!(arguments, $($argument),*);
        let shape: candle_core::cuda_backend::cudarc::driver::LaunchConfig = $shape;
        if shape.grid_dim.0 > 0 && shape.grid_dim.1 > 0 {
            // SAFETY: the operands' sizes were checked against what the kernel reads and writes.
            candle_core::cuda_backend::WrapErr::w(unsafe { arguments.launch(shape) })?;
        }
    }};
}
pub(super) use launch;

/// An address on the device.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Pointer(sys::CUdeviceptr);

// SAFETY: a bare address.
unsafe impl DeviceRepr for Pointer {}

impl Pointer {
    /// The start of `[numbers]`.
    pub fn of<T>(slice: &CudaSlice<T>) -> Self {
        Self(slice.device_ptr(slice.stream()).0)
    }

    /// As [`Pointer::of`], `[numbers]` to be overwritten.
    pub fn of_mut<T>(slice: &mut CudaSlice<T>) -> Self {
        let stream = slice.stream().clone();
        Self(slice.device_ptr_mut(&stream).0)
    }

    /// The place of element `at`.
    pub fn offset<T>(self, at: usize) -> Self {
        Self(self.0 + (at * size_of::<T>()) as u64)
    }

    pub fn is_aligned(self, bytes: usize) -> bool {
        self.0.is_multiple_of(bytes as u64)
    }
}

/// The start of a storage's numbers, whatever their format.
///
/// # Errors
/// If they are neither f32 nor bf16 nor f16.
pub fn start(storage: &CudaStorage) -> Result<Pointer> {
    Ok(match storage.dtype() {
        DType::F32 => Pointer::of(f32::as_cuda_slice(storage)?),
        DType::BF16 => Pointer::of(bf16::as_cuda_slice(storage)?),
        DType::F16 => Pointer::of(f16::as_cuda_slice(storage)?),
        other => candle_core::bail!("no kernel reads {}", other.as_str()),
    })
}

fn contiguous(op: &'static str, layout: &Layout) -> Result<usize> {
    match layout.contiguous_offsets() {
        Some((from, _)) => Ok(from),
        None => candle_core::bail!("{op} needs a contiguous operand, not strides {:?}", layout.stride()),
    }
}

/// The storage of a new tensor of `[len]` numbers, in f32 or bf16, and where it begins.
///
/// # Errors
/// If `dtype` is another, or the device has no memory for it.
pub fn result(device: &CudaDevice, dtype: DType, len: usize) -> Result<(CudaStorage, Pointer)> {
    Ok(match dtype {
        DType::F32 => {
            let out = alloc::<f32>(device, len)?;
            let at = Pointer::of(&out);
            (storage(out, device), at)
        }
        DType::BF16 => {
            let out = alloc::<bf16>(device, len)?;
            let at = Pointer::of(&out);
            (storage(out, device), at)
        }
        other => candle_core::bail!("no kernel writes {}", other.as_str()),
    })
}

/// The numbers of a contiguous f32 operand, of any shape `[...]`.
///
/// # Errors
/// If it isn't contiguous f32.
pub fn values(op: &'static str, storage: &CudaStorage, layout: &Layout) -> Result<Pointer> {
    Ok(Pointer::of(storage.as_cuda_slice::<f32>()?).offset::<f32>(contiguous(op, layout)?))
}

/// As [`values`], to be overwritten.
///
/// # Errors
/// If it isn't contiguous f32.
pub fn values_mut(op: &'static str, storage: &mut CudaStorage, layout: &Layout) -> Result<Pointer> {
    let from = contiguous(op, layout)?;
    Ok(Pointer::of_mut(storage.as_cuda_slice_mut::<f32>()?).offset::<f32>(from))
}

/// Memory for `[len]` numbers, to be overwritten. Never empty: drivers refuse to hand out nothing.
///
/// # Errors
/// If the device has no memory for them.
pub fn alloc<T: DeviceRepr>(device: &CudaDevice, len: usize) -> Result<CudaSlice<T>> {
    // SAFETY: whoever asks writes all of it before it is read.
    unsafe { device.alloc(len.max(1)) }
}

/// As [`alloc`], `[len]` zeros.
///
/// # Errors
/// If the device has no memory for them.
pub fn zeros(device: &CudaDevice, len: usize) -> Result<CudaSlice<f32>> {
    device.alloc_zeros(len.max(1))
}

/// Numbers of the host, `[numbers]`; where there are none, a single one that nothing reads.
///
/// # Errors
/// If the device has no memory for them.
pub fn upload<T: DeviceRepr + Default + Clone + 'static>(device: &CudaDevice, numbers: &[T]) -> Result<CudaSlice<T>> {
    if numbers.is_empty() { device.clone_htod(&vec![T::default()]) } else { device.clone_htod(numbers) }
}

/// The storage of a tensor with the numbers of `slice`, `[numbers]`.
pub fn storage<T: CudaDType>(slice: CudaSlice<T>, device: &CudaDevice) -> CudaStorage {
    CudaStorage::wrap_cuda_slice(slice, device.clone())
}

/// A launch whose threads share out `len` numbers.
pub fn over(len: usize) -> LaunchConfig {
    let blocks = len.div_ceil(THREADS as usize).min(MOST_BLOCKS) as u32;
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 }
}

/// A launch whose threads share out a matrix: rows to blocks in y, and in each of them four columns at once, where that can be.
pub fn over_rows(rows: usize, columns: usize) -> LaunchConfig {
    let across = columns.div_ceil(4 * THREADS as usize).min(MOST_BLOCKS) as u32;
    let grid_dim = (across, rows.min(MOST_BLOCKS) as u32, 1);
    LaunchConfig { grid_dim, block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 }
}

/// A launch with a block for each row.
pub fn by_row(rows: usize) -> LaunchConfig {
    LaunchConfig { grid_dim: (rows as u32, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 }
}

/// Lets a kernel use more shared memory than the usual 48 KiB, where the device has it.
///
/// # Errors
/// If the device hasn't so much.
pub fn allow_shared_memory(function: &CudaFunction, bytes: u32) -> Result<()> {
    let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    function.set_attribute(attribute, bytes as i32).w()
}
