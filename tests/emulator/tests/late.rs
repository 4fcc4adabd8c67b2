//! With `CUDA_EMULATOR_LATE`, copies happen when CUDA promises that they have, and not before.

use cudaemulator::driver::{
    cuMemAlloc_v2, cuMemcpyDtoD_v2, cuMemcpyDtoHAsync_v2, cuMemcpyHtoDAsync_v2, cuStreamSynchronize,
};
use std::ptr::null_mut;

#[test]
fn late_copies_take_what_is_there_by_then() {
    // SAFETY: no other thread of this program reads the environment.
    unsafe { std::env::set_var("CUDA_EMULATOR_LATE", "1") };
    let (mut a, mut b) = (0, 0);
    assert_eq!((cuMemAlloc_v2(&mut a, 4), cuMemAlloc_v2(&mut b, 4)), (0, 0));
    let mut source = [1u8; 4];
    assert_eq!(cuMemcpyHtoDAsync_v2(a, source.as_ptr().cast(), 4, null_mut()), 0);
    source.fill(2);
    std::hint::black_box(&source);
    // Other work, which comes after the copy.
    assert_eq!(cuMemcpyDtoD_v2(b, a, 4), 0);
    source.fill(3);

    let mut read = [0u8; 4];
    assert_eq!(cuMemcpyDtoHAsync_v2(read.as_mut_ptr().cast(), b, 4, null_mut()), 0);
    assert_eq!(std::hint::black_box(&read), &[0xff; 4]);
    assert_eq!(cuStreamSynchronize(null_mut()), 0);
    assert_eq!(std::hint::black_box(&read), &[2; 4]);
}
