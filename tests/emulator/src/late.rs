//! Asynchronous copies as late as CUDA allows, with `CUDA_EMULATOR_LATE=1`: a source on the host is read when the device goes
//! on with other work, and what is read from the device arrives when somebody waits for it.

use std::sync::{Mutex, OnceLock};

struct Upload {
    to: u64,
    from: u64,
    bytes: usize,
}

struct Download {
    to: u64,
    /// What was on the device when its turn came.
    bytes: Vec<u8>,
}

static UPLOADS: Mutex<Vec<Upload>> = Mutex::new(Vec::new());
static DOWNLOADS: Mutex<Vec<Download>> = Mutex::new(Vec::new());

fn is_on() -> bool {
    static ON: OnceLock<bool> = OnceLock::new();
    *ON.get_or_init(|| std::env::var("CUDA_EMULATOR_LATE").is_ok_and(|v| v != "0"))
}

fn lock<T>(list: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    list.lock().unwrap_or_else(|e| e.into_inner())
}

/// Whether a copy to the device, whose addresses are good, was put off.
pub fn upload(to: u64, from: u64, bytes: usize) -> bool {
    if is_on() {
        lock(&UPLOADS).push(Upload { to, from, bytes });
    }
    is_on()
}

/// Whether a copy from the device, whose addresses are good, was put off. Until it arrives, its destination is full of ones.
pub fn download(to: u64, from: u64, bytes: usize) -> bool {
    if is_on() {
        go_on();
        // SAFETY: the source was checked; the destination is the caller's.
        let taken = unsafe {
            std::ptr::write_bytes(to as *mut u8, 0xff, bytes);
            std::slice::from_raw_parts(from as *const u8, bytes).to_vec()
        };
        lock(&DOWNLOADS).push(Download { to, bytes: taken });
    }
    is_on()
}

/// The device turns to other work.
pub fn go_on() {
    for Upload { to, from, bytes } in lock(&UPLOADS).drain(..) {
        // SAFETY: the destination was checked; CUDA's callers keep the source until now.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
    }
}

/// Somebody waits for the device.
pub fn wait() {
    go_on();
    for Download { to, bytes } in lock(&DOWNLOADS).drain(..) {
        // SAFETY: CUDA's callers keep the destination until they have waited.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
    }
}
