//! cuRAND: uniform and normal numbers of a generator that isn't cuRAND's.

use crate::driver::check;
use crate::late;
use std::ffi::{c_int, c_uint, c_ulonglong, c_void};

type Status = u32;
const SUCCESS: Status = 0;
const LENGTH_NOT_MULTIPLE: Status = 105;
const LAUNCH_FAILURE: Status = 201;

/// SplitMix64 over a counter.
struct Generator {
    seed: u64,
    at: u64,
}

impl Generator {
    fn next(&mut self) -> u64 {
        self.at += 1;
        let mut z = self.seed.wrapping_add(self.at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// In (0, 1], as cuRAND's.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
    /// By the method of Box and Muller.
    fn normal(&mut self) -> f64 {
        let r = (-2.0 * self.uniform().ln()).sqrt();
        r * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

fn generator<'a>(g: *mut c_void) -> &'a mut Generator {
    // SAFETY: `curandCreateGenerator` made it.
    unsafe { &mut *g.cast() }
}

fn fill<T>(what: &str, p: *mut T, n: usize, mut next: impl FnMut() -> T) -> Status {
    late::go_on();
    if check(what, p as u64, n * size_of::<T>()).is_err() {
        return LAUNCH_FAILURE;
    }
    for i in 0..n {
        // SAFETY: inside an allocation, as checked.
        unsafe { p.add(i).write(next()) };
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn curandCreateGenerator(g: *mut *mut c_void, _kind: u32) -> Status {
    // SAFETY: the caller passes a place for the generator.
    unsafe { *g = Box::into_raw(Box::new(Generator { seed: 0, at: 0 })).cast() };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn curandDestroyGenerator(g: *mut c_void) -> Status {
    // SAFETY: `curandCreateGenerator` made it.
    drop(unsafe { Box::from_raw(g.cast::<Generator>()) });
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn curandSetPseudoRandomGeneratorSeed(g: *mut c_void, seed: c_ulonglong) -> Status {
    *generator(g) = Generator { seed, at: 0 };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn curandSetGeneratorOffset(g: *mut c_void, offset: c_ulonglong) -> Status {
    generator(g).at = offset;
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn curandSetStream(_g: *mut c_void, _s: *mut c_void) -> Status {
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn curandGetVersion(v: *mut c_int) -> Status {
    // SAFETY: the caller passes a place for the version.
    unsafe { *v = 10_400 };
    SUCCESS
}
#[unsafe(no_mangle)]
pub extern "C" fn curandGenerate(g: *mut c_void, p: *mut c_uint, n: usize) -> Status {
    fill("curandGenerate", p, n, || generator(g).next() as u32)
}
#[unsafe(no_mangle)]
pub extern "C" fn curandGenerateUniform(g: *mut c_void, p: *mut f32, n: usize) -> Status {
    fill("curandGenerateUniform", p, n, || (((generator(g).next() >> 40) + 1) as f32) / (1 << 24) as f32)
}
#[unsafe(no_mangle)]
pub extern "C" fn curandGenerateUniformDouble(g: *mut c_void, p: *mut f64, n: usize) -> Status {
    fill("curandGenerateUniformDouble", p, n, || generator(g).uniform())
}
#[unsafe(no_mangle)]
pub extern "C" fn curandGenerateNormal(g: *mut c_void, p: *mut f32, n: usize, mean: f32, stddev: f32) -> Status {
    if !n.is_multiple_of(2) {
        return LENGTH_NOT_MULTIPLE;
    }
    fill("curandGenerateNormal", p, n, || mean + stddev * generator(g).normal() as f32)
}
#[unsafe(no_mangle)]
pub extern "C" fn curandGenerateNormalDouble(g: *mut c_void, p: *mut f64, n: usize, mean: f64, stddev: f64) -> Status {
    if !n.is_multiple_of(2) {
        return LENGTH_NOT_MULTIPLE;
    }
    fill("curandGenerateNormalDouble", p, n, || mean + stddev * generator(g).normal())
}
