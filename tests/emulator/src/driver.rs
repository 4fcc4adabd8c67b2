//! The CUDA driver API, as far as programs on top of cudarc call it. Streams and events are there, but every call is
//! done when it returns.

use crate::exec::{self, Fault, Launch, Options};
use crate::late;
use crate::memory::{NOTE_USES, memory};
use crate::program::Program;
use crate::ptx::{self, Module, Space};
use crate::races::Search;
use crate::{decode, ptx::Var};
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

type Status = u32;
const SUCCESS: Status = 0;
const INVALID_VALUE: Status = 1;
const OUT_OF_MEMORY: Status = 2;
const INVALID_DEVICE: Status = 101;
const INVALID_CONTEXT: Status = 201;
const INVALID_PTX: Status = 218;
const NOT_FOUND: Status = 500;
const OUT_OF_RESOURCES: Status = 701;

/// Shared memory that any kernel may use.
const SHARED_PER_BLOCK: usize = 48 << 10;

/// What depends on the compute capability.
struct Device {
    major: i32,
    minor: i32,
    multiprocessors: i32,
    /// Shared memory of a multiprocessor; a block may use a KiB less, with `cuFuncSetAttribute`.
    shared: usize,
    threads: i32,
}

fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let (major, minor, multiprocessors, shared, threads) =
            match std::env::var("CUDA_EMULATOR_CAPABILITY").as_deref() {
                Ok("8.0") => (8, 0, 108, 164, 2048),
                Ok("8.6") => (8, 6, 84, 100, 1536),
                Ok("8.9") => (8, 9, 128, 100, 1536),
                Ok("9.0") | Err(_) => (9, 0, 132, 228, 2048),
                Ok(other) => panic!("CUDA_EMULATOR_CAPABILITY is {other}: 8.0, 8.6, 8.9 and 9.0 are known"),
            };
        Device { major, minor, multiprocessors, shared: shared << 10, threads }
    })
}

fn shared_opt_in() -> usize {
    device().shared - 1024
}

fn total_memory() -> u64 {
    let gib = std::env::var("CUDA_EMULATOR_MEMORY_GIB").ok().and_then(|v| v.parse::<u64>().ok());
    gib.unwrap_or(8) << 30
}

/// The first fault of a launch: as on a device, every later call gives it again.
static STICKY: Mutex<Option<Fault>> = Mutex::new(None);

fn sticky() -> Status {
    STICKY.lock().unwrap_or_else(|e| e.into_inner()).as_ref().map_or(SUCCESS, |f| f.code)
}

fn complain(text: &str) {
    eprintln!("cuda-emulator: {text}");
    if std::env::var_os("CUDA_EMULATOR_ABORT").is_some() {
        std::process::abort();
    }
}

/// A fault found outside of a kernel (a copy, a matrix product), kept like a kernel's.
pub fn fail(code: u32, text: String) -> Status {
    complain(&text);
    STICKY.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(Fault { code, text });
    code
}

/// Whether `bytes` at `address` are device memory that is allocated; says so where they aren't.
pub fn check(what: &str, address: u64, bytes: usize) -> Result<(), Status> {
    let memory = memory();
    if memory.contains(address, bytes) {
        return Ok(());
    }
    drop(memory);
    Err(fail(exec::ILLEGAL_ADDRESS, format!("{what}: {bytes} bytes at {address:#x} aren't inside one allocation")))
}

pub struct LoadedModule {
    module: Module,
    globals: HashMap<&'static str, u64>,
    sizes: HashMap<&'static str, usize>,
    functions: Mutex<HashMap<String, usize>>,
}

pub struct Function {
    program: Program,
    /// The most dynamic shared memory that a launch may ask for.
    dynamic_limit: Mutex<usize>,
    launches: Mutex<(u64, f64)>,
}

impl LoadedModule {
    pub fn new(text: &str) -> Result<Self, String> {
        let module = ptx::parse(text)?;
        let has = (10 * device().major + device().minor) as u32;
        if module.target > has {
            return Err(format!("the module is for sm_{}, and the device is sm_{has}", module.target));
        }
        let mut globals = HashMap::new();
        let mut sizes = HashMap::new();
        let in_memory: Vec<&Var> = module.vars.iter().filter(|v| v.space == Space::Global).collect();
        for v in &in_memory {
            let address = memory().alloc(v.size);
            globals.insert(v.name, address);
            sizes.insert(v.name, v.size);
        }
        for v in &in_memory {
            let mut data = v.init.clone();
            for &(at, name) in &v.addresses {
                let address = globals
                    .get(name)
                    .ok_or_else(|| format!("variable {} refers to {name}, which has no address", v.name))?;
                data[at..at + 8].copy_from_slice(&address.to_le_bytes());
            }
            data.resize(v.size, 0);
            // SAFETY: the allocation has this size.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), globals[v.name] as *mut u8, v.size) };
        }
        Ok(LoadedModule { module, globals, sizes, functions: Mutex::new(HashMap::new()) })
    }

    pub fn kernels(&self) -> impl Iterator<Item = &'static str> {
        self.module.funcs.iter().filter(|f| f.entry).map(|f| f.name)
    }

    pub fn decode(&self, name: &str) -> Result<Program, String> {
        decode::decode(&self.module, &self.globals, name)
    }
}

fn options() -> Options {
    static OPTIONS: OnceLock<Options> = OnceLock::new();
    *OPTIONS.get_or_init(|| {
        let value = |name: &str| std::env::var(name).unwrap_or_default();
        let races = match value("CUDA_EMULATOR_RACES").as_str() {
            "" | "0" => Search::Nothing,
            "1" => Search::Warps,
            _ => Search::Lanes,
        };
        NOTE_USES.store(races != Search::Nothing, Relaxed);
        Options { races, reverse: !matches!(value("CUDA_EMULATOR_REVERSE").as_str(), "" | "0") }
    })
}

fn traced() -> bool {
    static TRACE: OnceLock<bool> = OnceLock::new();
    *TRACE.get_or_init(|| std::env::var_os("CUDA_EMULATOR_TRACE").is_some())
}

/// Runs a kernel with its parameters laid out as its declaration says.
pub fn run(
    program: &Program,
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: usize,
    params: &[u8],
    options: Options,
) -> Result<(), Fault> {
    let table = memory().table();
    static LAUNCHES: AtomicU64 = AtomicU64::new(0);
    let number = LAUNCHES.fetch_add(1, Relaxed) + 1;
    exec::launch(&Launch { program, grid, block, params, dynamic_shared, table, options, number })
}

macro_rules! put {
    ($p:expr, $v:expr) => {{
        if $p.is_null() {
            return INVALID_VALUE;
        }
        // SAFETY: the caller passes a place for the result.
        unsafe { *$p = $v };
        SUCCESS
    }};
}

const CONTEXT: *mut c_void = 0xc0de as *mut c_void;
const POOL: *mut c_void = 0x9001 as *mut c_void;

thread_local! {
    static CURRENT: std::cell::Cell<*mut c_void> = const { std::cell::Cell::new(std::ptr::null_mut()) };
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_flags: c_uint) -> Status {
    options();
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDriverGetVersion(v: *mut c_int) -> Status {
    put!(v, 13000)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGet(d: *mut c_int, ordinal: c_int) -> Status {
    if ordinal != 0 {
        return INVALID_DEVICE;
    }
    put!(d, 0)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetCount(n: *mut c_int) -> Status {
    put!(n, 1)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetName(name: *mut c_char, len: c_int, _d: c_int) -> Status {
    let text = b"CUDA emulator\0";
    let n = text.len().min(len.max(0) as usize);
    if n == 0 {
        return INVALID_VALUE;
    }
    // SAFETY: the caller passes `len` bytes; the last one written is a zero.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, n);
        *name.add(n - 1) = 0;
    }
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], _d: c_int) -> Status {
    put!(uuid, *b"cuda-emulator-00")
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _d: c_int) -> Status {
    put!(bytes, total_memory() as usize)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetAttribute(v: *mut c_int, attribute: u32, _d: c_int) -> Status {
    let value = match attribute {
        1 => 1024,
        2 | 3 => 1024,
        4 => 64,
        5 => i32::MAX,
        6 | 7 => 65535,
        8 => SHARED_PER_BLOCK as i32,
        9 => 64 << 10,
        10 => 32,
        11 => i32::MAX,
        12 | 82 => 65536,
        13 => 1_980_000,
        14 => 512,
        16 => device().multiprocessors,
        19 | 31 | 35 | 41 | 83 | 89 | 91 | 95 | 115 => 1,
        36 => 2_619_000,
        37 => 5120,
        38 => 50 << 20,
        39 => device().threads,
        40 => 3,
        75 => device().major,
        76 => device().minor,
        81 => device().shared as i32,
        97 => shared_opt_in() as i32,
        106 => 32,
        111 => 1024,
        _ => 0,
    };
    put!(v, value)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetPCIBusId(name: *mut c_char, len: c_int, d: c_int) -> Status {
    cuDeviceGetName(name, len, d)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRetain(c: *mut *mut c_void, _d: c_int) -> Status {
    put!(c, CONTEXT)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(_d: c_int) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxGetState(_d: c_int, flags: *mut c_uint, active: *mut c_int) -> Status {
    put!(flags, 0);
    put!(active, 1)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxSetFlags_v2(_d: c_int, _flags: c_uint) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetCurrent(c: *mut *mut c_void) -> Status {
    put!(c, CURRENT.get())
}
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(c: *mut c_void) -> Status {
    if !c.is_null() && c != CONTEXT {
        return INVALID_CONTEXT;
    }
    CURRENT.set(c);
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetDevice(d: *mut c_int) -> Status {
    put!(d, 0)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize() -> Status {
    late::wait();
    sticky()
}
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetFlags(_flags: c_uint) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetLimit(_limit: u32, _value: usize) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetLimit(value: *mut usize, _limit: u32) -> Status {
    put!(value, 1024)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCacheConfig(_c: u32) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetCacheConfig(c: *mut u32) -> Status {
    put!(c, 0)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> Status {
    put!(least, 0);
    put!(greatest, 0)
}

// Streams and events.

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamCreate(s: *mut *mut c_void, _flags: c_uint) -> Status {
    put!(s, Box::into_raw(Box::new(0u64)).cast())
}
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamCreateWithPriority(s: *mut *mut c_void, flags: c_uint, _priority: c_int) -> Status {
    cuStreamCreate(s, flags)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(s: *mut c_void) -> Status {
    // SAFETY: `cuStreamCreate` made it.
    drop(unsafe { Box::from_raw(s.cast::<u64>()) });
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(_s: *mut c_void) -> Status {
    late::wait();
    sticky()
}
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamQuery(_s: *mut c_void) -> Status {
    late::wait();
    sticky()
}
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(_s: *mut c_void, _e: *mut c_void, _flags: c_uint) -> Status {
    sticky()
}
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamIsCapturing(_s: *mut c_void, status: *mut u32) -> Status {
    put!(status, 0)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamAttachMemAsync(_s: *mut c_void, _p: u64, _n: usize, _flags: c_uint) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuLaunchHostFunc(
    _s: *mut c_void,
    f: Option<unsafe extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> Status {
    if let Some(f) = f {
        // SAFETY: the caller's function with the caller's data.
        unsafe { f(data) };
    }
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuEventCreate(e: *mut *mut c_void, _flags: c_uint) -> Status {
    put!(e, Box::into_raw(Box::new(Instant::now())).cast())
}
#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(e: *mut c_void) -> Status {
    // SAFETY: `cuEventCreate` made it.
    drop(unsafe { Box::from_raw(e.cast::<Instant>()) });
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(e: *mut c_void, _s: *mut c_void) -> Status {
    // SAFETY: `cuEventCreate` made it.
    unsafe { *e.cast::<Instant>() = Instant::now() };
    sticky()
}
#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(_e: *mut c_void) -> Status {
    late::wait();
    sticky()
}
#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(_e: *mut c_void) -> Status {
    late::wait();
    sticky()
}
#[unsafe(no_mangle)]
pub extern "C" fn cuEventElapsedTime_v2(ms: *mut f32, start: *mut c_void, end: *mut c_void) -> Status {
    // SAFETY: `cuEventCreate` made both.
    let (start, end) = unsafe { (*start.cast::<Instant>(), *end.cast::<Instant>()) };
    put!(ms, end.saturating_duration_since(start).as_secs_f32() * 1e3)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuEventElapsedTime(ms: *mut f32, start: *mut c_void, end: *mut c_void) -> Status {
    cuEventElapsedTime_v2(ms, start, end)
}

// Memory.

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAlloc_v2(p: *mut u64, bytes: usize) -> Status {
    if bytes == 0 {
        return INVALID_VALUE;
    }
    allocate(p, bytes)
}
/// Unlike [`cuMemAlloc_v2`], this one takes a size of zero: callers make their empty arrays so.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocAsync(p: *mut u64, bytes: usize, _s: *mut c_void) -> Status {
    allocate(p, bytes)
}
fn allocate(p: *mut u64, bytes: usize) -> Status {
    if sticky() != SUCCESS {
        return sticky();
    }
    let mut memory = memory();
    if memory.used().0 + bytes as u64 > total_memory() {
        return OUT_OF_MEMORY;
    }
    match memory.alloc(bytes) {
        0 => OUT_OF_MEMORY,
        address => put!(p, address),
    }
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocFromPoolAsync(p: *mut u64, bytes: usize, _pool: *mut c_void, _s: *mut c_void) -> Status {
    allocate(p, bytes)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocManaged(p: *mut u64, bytes: usize, _flags: c_uint) -> Status {
    cuMemAlloc_v2(p, bytes)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(p: u64) -> Status {
    late::go_on();
    if p == 0 || memory().free(p) {
        return SUCCESS;
    }
    fail(INVALID_VALUE, format!("cuMemFree: nothing is allocated at {p:#x} (freed twice?)"))
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeAsync(p: u64, _s: *mut c_void) -> Status {
    cuMemFree_v2(p)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status {
    let used = memory().used().0;
    put!(total, total_memory() as usize);
    put!(free, total_memory().saturating_sub(used) as usize)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostAlloc(p: *mut *mut c_void, bytes: usize, _flags: c_uint) -> Status {
    put!(p, memory().alloc(bytes) as *mut c_void)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocHost_v2(p: *mut *mut c_void, bytes: usize) -> Status {
    cuMemHostAlloc(p, bytes, 0)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeHost(p: *mut c_void) -> Status {
    cuMemFree_v2(p as u64)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostRegister_v2(_p: *mut c_void, _bytes: usize, _flags: c_uint) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostUnregister(_p: *mut c_void) -> Status {
    SUCCESS
}

/// Whether a copy can be done.
fn check_copy(what: &str, to: u64, from: u64, bytes: usize, to_device: bool, from_device: bool) -> Status {
    if sticky() != SUCCESS {
        return sticky();
    }
    if to_device && let Err(e) = check(&format!("{what}, destination"), to, bytes) {
        return e;
    }
    if from_device && let Err(e) = check(&format!("{what}, source"), from, bytes) {
        return e;
    }
    SUCCESS
}
fn copy(what: &str, to: u64, from: u64, bytes: usize, to_device: bool, from_device: bool) -> Status {
    late::go_on();
    let status = check_copy(what, to, from, bytes, to_device, from_device);
    if status == SUCCESS {
        // SAFETY: device addresses are checked; host addresses are the caller's.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
    }
    status
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) -> Status {
    copy("cuMemcpyHtoD", to, from as u64, bytes, true, false)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, _s: *mut c_void) -> Status {
    let status = check_copy("cuMemcpyHtoDAsync", to, from as u64, bytes, true, false);
    if status != SUCCESS || late::upload(to, from as u64, bytes) {
        return status;
    }
    cuMemcpyHtoD_v2(to, from, bytes)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) -> Status {
    copy("cuMemcpyDtoH", to as u64, from, bytes, false, true)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, _s: *mut c_void) -> Status {
    let status = check_copy("cuMemcpyDtoHAsync", to as u64, from, bytes, false, true);
    if status != SUCCESS || late::download(to as u64, from, bytes) {
        return status;
    }
    cuMemcpyDtoH_v2(to, from, bytes)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> Status {
    copy("cuMemcpyDtoD", to, from, bytes, true, true)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, _s: *mut c_void) -> Status {
    cuMemcpyDtoD_v2(to, from, bytes)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyPeerAsync(
    to: u64,
    _to_context: *mut c_void,
    from: u64,
    _from_context: *mut c_void,
    bytes: usize,
    _s: *mut c_void,
) -> Status {
    cuMemcpyDtoD_v2(to, from, bytes)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, _s: *mut c_void) -> Status {
    copy("cuMemcpy", to, from, bytes, false, false)
}

fn set<T: Copy>(what: &str, p: u64, v: T, n: usize) -> Status {
    late::go_on();
    if sticky() != SUCCESS {
        return sticky();
    }
    if let Err(e) = check(what, p, n * size_of::<T>()) {
        return e;
    }
    if !p.is_multiple_of(size_of::<T>() as u64) {
        return fail(INVALID_VALUE, format!("{what}: {p:#x} is misaligned"));
    }
    // SAFETY: inside an allocation, as checked.
    unsafe { std::slice::from_raw_parts_mut(p as *mut T, n) }.fill(v);
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8_v2(p: u64, v: u8, n: usize) -> Status {
    set("cuMemsetD8", p, v, n)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8Async(p: u64, v: u8, n: usize, _s: *mut c_void) -> Status {
    cuMemsetD8_v2(p, v, n)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD16Async(p: u64, v: u16, n: usize, _s: *mut c_void) -> Status {
    set("cuMemsetD16", p, v, n)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD32Async(p: u64, v: u32, n: usize, _s: *mut c_void) -> Status {
    set("cuMemsetD32", p, v, n)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemAdvise_v2() -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPrefetchAsync_v2() -> Status {
    SUCCESS
}

// Pools: there is one.

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut *mut c_void, _d: c_int) -> Status {
    put!(pool, POOL)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetMemPool(pool: *mut *mut c_void, _d: c_int) -> Status {
    put!(pool, POOL)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceSetMemPool(_d: c_int, _pool: *mut c_void) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolTrimTo(_pool: *mut c_void, _keep: usize) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolSetAttribute(_pool: *mut c_void, attribute: u32, _value: *mut c_void) -> Status {
    if attribute == 6 || attribute == 8 {
        memory().reset_high();
    }
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolGetAttribute(_pool: *mut c_void, attribute: u32, value: *mut c_void) -> Status {
    let (used, high) = memory().used();
    match attribute {
        5 | 7 => put!(value.cast::<u64>(), used),
        6 | 8 => put!(value.cast::<u64>(), high),
        4 => put!(value.cast::<u64>(), 0),
        _ => put!(value.cast::<c_int>(), 1),
    }
}

// Modules and kernels.

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoadData(m: *mut *mut c_void, image: *const c_void) -> Status {
    // SAFETY: PTX text ends with a zero, as the API demands.
    let text = unsafe { CStr::from_ptr(image.cast()) };
    let Ok(text) = text.to_str() else {
        complain(
            "cuModuleLoadData: the image isn't PTX text; binaries can't be interpreted: build for a compute_ target, not sm_",
        );
        return INVALID_PTX;
    };
    match LoadedModule::new(text) {
        Ok(module) => put!(m, Box::into_raw(Box::new(module)).cast()),
        Err(e) => {
            complain(&format!("cuModuleLoadData: {e}"));
            INVALID_PTX
        }
    }
}
#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoadDataEx(
    m: *mut *mut c_void,
    image: *const c_void,
    _n: c_uint,
    _options: *mut u32,
    _values: *mut *mut c_void,
) -> Status {
    cuModuleLoadData(m, image)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoad(m: *mut *mut c_void, path: *const c_char) -> Status {
    // SAFETY: a path ends with a zero, as the API demands.
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned();
    match std::fs::read(&path).map(|mut text| {
        text.push(0);
        text
    }) {
        Ok(text) => cuModuleLoadData(m, text.as_ptr().cast()),
        Err(e) => {
            complain(&format!("cuModuleLoad: {path}: {e}"));
            301
        }
    }
}
#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(_m: *mut c_void) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetLoadingMode(mode: *mut u32) -> Status {
    put!(mode, 1)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetGlobal_v2(p: *mut u64, bytes: *mut usize, m: *mut c_void, name: *const c_char) -> Status {
    // SAFETY: `cuModuleLoadData` made the module; a name ends with a zero.
    let (m, name) = unsafe { (&*m.cast::<LoadedModule>(), CStr::from_ptr(name).to_string_lossy()) };
    let Some(&address) = m.globals.get(name.as_ref()) else { return NOT_FOUND };
    if !bytes.is_null() {
        put!(bytes, m.sizes[name.as_ref()]);
    }
    if p.is_null() { SUCCESS } else { put!(p, address) }
}
#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetFunction(f: *mut *mut c_void, m: *mut c_void, name: *const c_char) -> Status {
    // SAFETY: `cuModuleLoadData` made the module; a name ends with a zero.
    let (m, name) = unsafe { (&*m.cast::<LoadedModule>(), CStr::from_ptr(name).to_string_lossy().into_owned()) };
    let mut functions = m.functions.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(&known) = functions.get(&name) {
        return put!(f, known as *mut c_void);
    }
    match m.decode(&name) {
        Ok(program) => {
            let limit = SHARED_PER_BLOCK.saturating_sub(program.static_shared);
            let function = Box::into_raw(Box::new(Function {
                program,
                dynamic_limit: Mutex::new(limit),
                launches: Mutex::default(),
            }));
            functions.insert(name, function as usize);
            put!(f, function.cast())
        }
        Err(e) => {
            complain(&format!("cuModuleGetFunction: {name}: {e}"));
            if e.contains("has no kernel") { NOT_FOUND } else { INVALID_PTX }
        }
    }
}

fn function<'a>(f: *mut c_void) -> &'a Function {
    // SAFETY: `cuModuleGetFunction` made it, and nothing frees it.
    unsafe { &*f.cast::<Function>() }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncGetAttribute(v: *mut c_int, attribute: u32, f: *mut c_void) -> Status {
    let f = function(f);
    let value = match attribute {
        0 => f.program.max_threads.unwrap_or(1024) as c_int,
        1 => f.program.static_shared as c_int,
        3 => f.program.local_bytes as c_int,
        4 => 64,
        5 | 6 => 90,
        8 => *f.dynamic_limit.lock().unwrap_or_else(|e| e.into_inner()) as c_int,
        _ => 0,
    };
    put!(v, value)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetAttribute(f: *mut c_void, attribute: u32, value: c_int) -> Status {
    let f = function(f);
    if attribute == 8 {
        if value < 0 || value as usize + f.program.static_shared > shared_opt_in() {
            complain(&format!(
                "cuFuncSetAttribute: {}: {value} bytes of dynamic shared memory with {} static ones are more than {}",
                f.program.name,
                f.program.static_shared,
                shared_opt_in()
            ));
            return INVALID_VALUE;
        }
        *f.dynamic_limit.lock().unwrap_or_else(|e| e.into_inner()) = value as usize;
    }
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetCacheConfig(_f: *mut c_void, _c: u32) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLaunchKernel(
    f: *mut c_void,
    gx: c_uint,
    gy: c_uint,
    gz: c_uint,
    bx: c_uint,
    by: c_uint,
    bz: c_uint,
    dynamic: c_uint,
    _s: *mut c_void,
    params: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> Status {
    late::go_on();
    if sticky() != SUCCESS {
        return sticky();
    }
    let f = function(f);
    let p = &f.program;
    let (grid, block) = ([gx, gy, gz], [bx, by, bz]);
    let refuse = |code: Status, why: String| {
        complain(&format!(
            "cuLaunchKernel: {} (grid {grid:?}, block {block:?}, {dynamic} bytes of dynamic shared memory): {why}",
            p.name
        ));
        code
    };
    let threads = u64::from(bx) * u64::from(by) * u64::from(bz);
    if grid.contains(&0) || block.contains(&0) {
        return refuse(INVALID_VALUE, "an extent is zero".into());
    }
    if threads > 1024 || bz > 64 || gy > 65535 || gz > 65535 || gx > i32::MAX as u32 {
        return refuse(INVALID_VALUE, "an extent is more than the device has".into());
    }
    if p.max_threads.is_some_and(|m| threads > u64::from(m)) {
        return refuse(
            OUT_OF_RESOURCES,
            format!("the kernel is built for at most {} threads in a block", p.max_threads.unwrap_or(0)),
        );
    }
    let limit = *f.dynamic_limit.lock().unwrap_or_else(|e| e.into_inner());
    if dynamic as usize > limit {
        return refuse(
            INVALID_VALUE,
            format!(
                "more shared memory than the kernel may use: {limit} bytes (see CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)"
            ),
        );
    }
    let mut data = vec![0u8; p.param_bytes];
    for (i, &(at, size)) in p.params.iter().enumerate() {
        // SAFETY: the caller passes a pointer to each parameter of the kernel.
        unsafe { std::ptr::copy_nonoverlapping((*params.add(i)).cast::<u8>(), data[at..].as_mut_ptr(), size) };
    }
    let start = Instant::now();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run(p, grid, block, dynamic as usize, &data, options())
    }));
    let took = start.elapsed().as_secs_f64();
    let mut launches = f.launches.lock().unwrap_or_else(|e| e.into_inner());
    launches.0 += 1;
    launches.1 += took;
    if traced() {
        eprintln!(
            "cuda-emulator: {} grid {grid:?} block {block:?} shared {dynamic}: {:.3} ms (launch {}, {:.3} s in all)",
            p.name,
            took * 1e3,
            launches.0,
            launches.1
        );
    }
    match result {
        Ok(Ok(())) => SUCCESS,
        Ok(Err(fault)) => fail(fault.code, fault.text),
        Err(_) => fail(exec::LAUNCH_FAILED, format!("{}: the emulator itself failed, see above", p.name)),
    }
}
#[unsafe(no_mangle)]
pub extern "C" fn cuLaunchCooperativeKernel(
    f: *mut c_void,
    gx: c_uint,
    gy: c_uint,
    gz: c_uint,
    bx: c_uint,
    by: c_uint,
    bz: c_uint,
    dynamic: c_uint,
    s: *mut c_void,
    params: *mut *mut c_void,
) -> Status {
    cuLaunchKernel(f, gx, gy, gz, bx, by, bz, dynamic, s, params, std::ptr::null_mut())
}

// Occupancy: by threads and shared memory alone.

#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    n: *mut c_int,
    f: *mut c_void,
    block: c_int,
    dynamic: usize,
) -> Status {
    let shared = function(f).program.static_shared + dynamic + 1024;
    put!(n, (device().threads / block.max(1)).min((device().shared / shared) as c_int).min(32))
}
#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    n: *mut c_int,
    f: *mut c_void,
    block: c_int,
    dynamic: usize,
    _flags: c_uint,
) -> Status {
    cuOccupancyMaxActiveBlocksPerMultiprocessor(n, f, block, dynamic)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyMaxPotentialBlockSize(
    grid: *mut c_int,
    block: *mut c_int,
    f: *mut c_void,
    shared: Option<unsafe extern "C" fn(c_int) -> usize>,
    dynamic: usize,
    limit: c_int,
) -> Status {
    let most = function(f).program.max_threads.unwrap_or(1024) as c_int;
    let threads = if limit > 0 { most.min(limit) } else { most };
    // SAFETY: the caller's function.
    let dynamic = shared.map_or(dynamic, |s| unsafe { s(threads) });
    let mut per = 0;
    cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut per, f, threads, dynamic);
    put!(grid, per.max(1) * device().multiprocessors);
    put!(block, threads)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyMaxPotentialBlockSizeWithFlags(
    grid: *mut c_int,
    block: *mut c_int,
    f: *mut c_void,
    shared: Option<unsafe extern "C" fn(c_int) -> usize>,
    dynamic: usize,
    limit: c_int,
    _flags: c_uint,
) -> Status {
    cuOccupancyMaxPotentialBlockSize(grid, block, f, shared, dynamic, limit)
}
#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyAvailableDynamicSMemPerBlock(
    bytes: *mut usize,
    f: *mut c_void,
    blocks: c_int,
    _threads: c_int,
) -> Status {
    put!(bytes, (device().shared / blocks.max(1) as usize).saturating_sub(1024 + function(f).program.static_shared))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuProfilerStart() -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn cuProfilerStop() -> Status {
    SUCCESS
}

fn error_text(code: Status) -> (&'static CStr, &'static CStr) {
    match code {
        SUCCESS => (c"CUDA_SUCCESS", c"no error"),
        INVALID_VALUE => (c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
        OUT_OF_MEMORY => (c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
        INVALID_DEVICE => (c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
        INVALID_CONTEXT => (c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context"),
        INVALID_PTX => (c"CUDA_ERROR_INVALID_PTX", c"a PTX text that the emulator can't read"),
        301 => (c"CUDA_ERROR_FILE_NOT_FOUND", c"file not found"),
        NOT_FOUND => (c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
        exec::ILLEGAL_ADDRESS => (c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered"),
        OUT_OF_RESOURCES => (c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", c"too many resources requested for launch"),
        exec::ASSERT => (c"CUDA_ERROR_ASSERT", c"device-side assert triggered"),
        exec::ILLEGAL_INSTRUCTION => (c"CUDA_ERROR_ILLEGAL_INSTRUCTION", c"an illegal instruction was encountered"),
        exec::MISALIGNED => (c"CUDA_ERROR_MISALIGNED_ADDRESS", c"misaligned address"),
        exec::LAUNCH_FAILED => (c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
        _ => (c"CUDA_ERROR_UNKNOWN", c"unknown error"),
    }
}
#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorName(code: Status, text: *mut *const c_char) -> Status {
    put!(text, error_text(code).0.as_ptr())
}
#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorString(code: Status, text: *mut *const c_char) -> Status {
    put!(text, error_text(code).1.as_ptr())
}
