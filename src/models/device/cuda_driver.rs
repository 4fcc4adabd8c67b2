//! NVIDIA GPUs, through the driver. Its library is opened at the first call, and where it is missing an error code comes back
//! (`build/link.rs`).

use std::{
    ffi::{CStr, c_char, c_int},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use candle_core::{CudaDevice, Device as Opened};
use cudarc::driver::{
    CudaEvent, DriverError,
    result::{device, init, mem_pool},
    sys::{
        self, CUdevice_attribute as Attribute, CUevent_flags, CUmemPool_attribute as PoolAttribute, CUresult,
        cuDriverGetVersion, cuProfilerStart, cuProfilerStop,
    },
};

use super::usage::{Counts, Peak};
use crate::base::{
    error::{Error, Result},
    machine::Gpu,
};

/// The toolkit's release whose PTX is in this program, as drivers count: 13.0 is 13000.
const TOOLKIT: &str = env!("EMOPIPE_CUDA");

/// The least compute capability that our kernels are compiled for.
const CAPABILITY: (c_int, c_int) = (8, 0);

/// `struct counts` of `build/calls.h`.
#[repr(C)]
struct Counters {
    launches: AtomicU64,
    allocations: AtomicU64,
    products: AtomicU64,
}

unsafe extern "C" {
    /// `build/lazy.c`.
    fn emopipe_cuda_trouble() -> *const c_char;
    fn emopipe_cuda_can_multiply() -> c_int;
    static emopipe_cuda_counts: Counters;
}

/// What kept a library of CUDA's from being opened, if anything did.
fn trouble() -> Option<String> {
    // SAFETY: the text ends with a zero, and is written before the call returns that had the trouble.
    let text = unsafe { CStr::from_ptr(emopipe_cuda_trouble()) }.to_string_lossy().into_owned();
    (!text.is_empty()).then_some(text)
}

/// As [`super::gpus`].
///
/// # Errors
/// As there.
pub fn gpus() -> Result<Vec<Gpu>> {
    init().map_err(without_driver)?;
    let driver = version()?;
    if driver < toolkit() {
        return Err(Error::environment(format!(
            "the NVIDIA driver knows CUDA up to {}, and this emopipe was built with CUDA {}",
            release(driver),
            release(toolkit())
        ))
        .help("update the driver, or build emopipe with a toolkit as old as the driver"));
    }
    let count = device::get_count().map_err(failed)?;
    (0..count).map(|ordinal| gpu(ordinal).map_err(failed)).collect()
}

fn gpu(ordinal: c_int) -> Result<Gpu, DriverError> {
    let handle = device::get(ordinal)?;
    // SAFETY: the handle is a device's.
    let memory = unsafe { device::total_mem(handle)? };
    Ok(Gpu { name: device::get_name(handle)?, memory: Some(memory as u64) })
}

fn version() -> Result<c_int> {
    let mut version = 0;
    // SAFETY: the pointer is good for one number.
    unsafe { cuDriverGetVersion(&raw mut version) }.result().map_err(failed)?;
    Ok(version)
}

fn toolkit() -> c_int {
    TOOLKIT.parse().unwrap_or(0)
}

fn release(version: c_int) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// Why there is no GPU to be had.
fn without_driver(error: DriverError) -> Error {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES");
    let on_cpu = "or compute on the CPU: `device = \"cpu\"`, which is the default";
    match (error.0, trouble(), visible) {
        (CUresult::CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND, Some(trouble), _) => {
            Error::environment(format!("there is no NVIDIA driver here ({trouble})"))
                .help(format!("run on a machine with an NVIDIA GPU and its driver, {on_cpu}"))
        }
        (CUresult::CUDA_ERROR_NO_DEVICE, _, Ok(list)) => Error::environment(format!(
            "the NVIDIA driver shows no GPU to this process: CUDA_VISIBLE_DEVICES is `{list}`"
        ))
        .help(format!("name a GPU there that `nvidia-smi` lists, unset it, {on_cpu}")),
        (CUresult::CUDA_ERROR_NO_DEVICE, ..) => {
            Error::environment("the NVIDIA driver finds no GPU").help(format!("see what `nvidia-smi` lists, {on_cpu}"))
        }
        _ => Error::environment(format!("the NVIDIA driver doesn't start: {error}"))
            .help(format!("`nvidia-smi` may say more; repair or update the driver, {on_cpu}")),
    }
}

fn failed(error: DriverError) -> Error {
    Error::environment(format!("the NVIDIA driver fails: {error}"))
}

static OPENED: Mutex<Option<Opened>> = Mutex::new(None);

/// The GPU, also where there is no cuBLAS: then products fail, and nothing else.
///
/// # Errors
/// As [`super::open`].
pub fn connect() -> Result<Opened> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let device = match &*opened {
        Some(device) => device.clone(),
        None => opened.insert(set_up()?).clone(),
    };
    // What loads modules and functions relies on it, on every thread that computes.
    device.as_cuda_device()?.cuda_stream().context().bind_to_thread().map_err(failed)?;
    Ok(device)
}

fn set_up() -> Result<Opened> {
    gpus()?;
    let device = Opened::new_cuda_with_stream(0).map_err(|error| {
        let why = trouble().map_or_else(|| error.to_string(), |trouble| format!("{error}: {trouble}"));
        Error::environment(format!("can't compute on the GPU: {why}")).help(
            "another program may hold its memory: `nvidia-smi` lists them; or compute on the CPU: `device = \"cpu\"`, \
             which is the default",
        )
    })?;
    let cuda = device.as_cuda_device()?;
    check_capability(cuda)?;
    // SAFETY: all work goes to the one stream, so nothing has to wait for anything on another.
    unsafe { cuda.disable_event_tracking() };
    keep_freed_memory(cuda);
    Ok(device)
}

/// As [`super::open`].
///
/// # Errors
/// As there.
pub fn open() -> Result<Opened> {
    let device = connect()?;
    // SAFETY: it takes no arguments.
    if unsafe { emopipe_cuda_can_multiply() } != 0 {
        return Ok(device);
    }
    let why = trouble().map_or_else(String::new, |trouble| format!(" ({trouble})"));
    Err(Error::environment(format!("can't compute on the GPU: there is no cuBLAS here{why}")).help(
        "install the CUDA toolkit, or PyTorch with CUDA for the `python3` on PATH, or add the folder of libcublas.so to \
         LD_LIBRARY_PATH",
    ))
}

fn handle(device: &CudaDevice) -> sys::CUdevice {
    device.cuda_stream().context().cu_device()
}

fn check_capability(device: &CudaDevice) -> Result<()> {
    let attribute = |which| {
        // SAFETY: the handle is a device's.
        unsafe { device::get_attribute(handle(device), which) }.map_err(failed)
    };
    let found = (
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    if found < CAPABILITY {
        let name = name(device)?;
        return Err(Error::environment(format!(
            "{name} has compute capability {}.{}, and emopipe's kernels need {}.{}",
            found.0, found.1, CAPABILITY.0, CAPABILITY.1
        ))
        .help("use a GPU of the Ampere generation or newer, or `device = \"cpu\"`"));
    }
    Ok(())
}

/// By default the pool returns memory to the system whenever the stream is waited for, that is in every step.
fn keep_freed_memory(device: &CudaDevice) {
    if let Some(pool) = pool(device) {
        let mut all = u64::MAX;
        // SAFETY: this attribute is a number of 64 bits. Where it can't be set, memory is only slower to come by.
        let _ = unsafe {
            mem_pool::set_attribute(pool, PoolAttribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, (&raw mut all).cast())
        };
    }
}

/// None where the device has no pools.
fn pool(device: &CudaDevice) -> Option<sys::CUmemoryPool> {
    // SAFETY: the handle is a device's.
    unsafe { device::get_mem_pool(handle(device)) }.ok()
}

/// As [`super::peak`].
pub fn peak(device: &CudaDevice) -> Option<Peak> {
    let pool = pool(device)?;
    let read = |attribute| {
        let mut bytes = 0u64;
        // SAFETY: these attributes are numbers of 64 bits.
        unsafe { mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()) }.ok().map(|()| bytes)
    };
    Some(Peak {
        used: read(PoolAttribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?,
        reserved: read(PoolAttribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)?,
    })
}

/// As [`super::forget_peak`].
pub fn forget_peak(device: &CudaDevice) {
    let Some(pool) = pool(device) else { return };
    // SAFETY: the pool is the device's, and only what nobody holds is given back. Peaks are then those of the process.
    let _ = unsafe { mem_pool::trim_to(pool, 0) };
    for attribute in [PoolAttribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, PoolAttribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH] {
        let mut now = 0u64;
        // SAFETY: these attributes are numbers of 64 bits, and 0 sets them to what is there now.
        let _ = unsafe { mem_pool::set_attribute(pool, attribute, (&raw mut now).cast()) };
    }
}

/// As [`super::name`].
///
/// # Errors
/// If the driver doesn't tell.
pub fn name(device: &CudaDevice) -> Result<String> {
    device::get_name(handle(device)).map_err(failed)
}

/// As [`super::counts`].
pub fn counts() -> Counts {
    // SAFETY: it lies there for as long as the program runs, and its numbers are changed atomically.
    let counters = unsafe { &emopipe_cuda_counts };
    Counts {
        launches: counters.launches.load(Ordering::Relaxed),
        products: counters.products.load(Ordering::Relaxed),
        allocations: counters.allocations.load(Ordering::Relaxed),
    }
}

/// A place in the device's work, with its time.
///
/// # Errors
/// If the device fails.
pub fn mark(device: &CudaDevice) -> Result<CudaEvent> {
    device.cuda_stream().record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(failed)
}

/// Seconds from one event to the other; waits for that.
///
/// # Errors
/// If the device fails.
pub fn seconds_between(from: &CudaEvent, to: &CudaEvent) -> Result<f64> {
    from.elapsed_ms(to).map(|ms| f64::from(ms) / 1e3).map_err(failed)
}

/// As [`super::profile`].
///
/// # Errors
/// If the driver fails.
pub fn profile<T>(work: impl FnOnce() -> T) -> Result<T> {
    // SAFETY: they take no arguments.
    unsafe { cuProfilerStart() }.result().map_err(failed)?;
    let done = work();
    // SAFETY: as above.
    unsafe { cuProfilerStop() }.result().map_err(failed)?;
    Ok(done)
}
