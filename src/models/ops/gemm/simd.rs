//! The vector instructions that a matrix product needs, for each kind of processor.

/// A register of f32 numbers.
///
/// # Safety
/// Implementors read and write exactly `LANES` numbers.
pub unsafe trait Simd: Copy {
    const LANES: usize;

    /// # Safety
    /// The processor must have the instructions; the same goes for all functions here.
    unsafe fn splat(x: f32) -> Self;

    /// # Safety
    /// `LANES` numbers must be readable at `from`.
    unsafe fn load(from: *const f32) -> Self;

    /// # Safety
    /// `LANES` numbers must be writable at `to`.
    unsafe fn store(self, to: *mut f32);

    /// # Safety
    /// As for [`Simd::splat`].
    unsafe fn times(self, other: Self) -> Self;

    /// `self * other + sum`, rounded once.
    ///
    /// # Safety
    /// As for [`Simd::splat`].
    unsafe fn times_plus(self, other: Self, sum: Self) -> Self;

    /// The transpose of a block of [`TURN`] by [`TURN`] numbers; rows begin `stride` and `to_stride` apart.
    ///
    /// # Safety
    /// Both blocks must be in bounds.
    unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        for i in 0..TURN {
            for j in 0..TURN {
                // SAFETY: passed on to the caller.
                unsafe { *to.add(j * to_stride + i) = *from.add(i * stride + j) }
            }
        }
    }
}

/// Side of the block that [`Simd::transpose`] turns.
pub const TURN: usize = 8;

/// Four numbers, for the compiler to find instructions for: those of every 64-bit ARM, for one.
#[derive(Clone, Copy)]
pub struct Portable([f32; 4]);

// SAFETY: four numbers are read and written.
unsafe impl Simd for Portable {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: passed on to the caller.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: passed on to the caller.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * other.0[i]))
    }

    #[inline(always)]
    unsafe fn times_plus(self, other: Self, sum: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].mul_add(other.0[i], sum.0[i])))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_permute2f128_ps, _mm256_set1_ps,
        _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
        _mm512_mul_ps, _mm512_set1_ps, _mm512_storeu_ps,
    };

    use crate::models::ops::gemm::simd::{Simd, TURN};

    // SAFETY: 16 numbers are read and written. All functions: their instructions and pointers are the caller's business.
    unsafe impl Simd for __m512 {
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: passed on to the caller.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: passed on to the caller.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: passed on to the caller.
            unsafe { _mm512_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            // SAFETY: passed on to the caller.
            unsafe { _mm512_mul_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn times_plus(self, other: Self, sum: Self) -> Self {
            // SAFETY: passed on to the caller.
            unsafe { _mm512_fmadd_ps(self, other, sum) }
        }

        #[inline(always)]
        unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
            // SAFETY: passed on to the caller.
            unsafe { transpose(from, stride, to, to_stride) }
        }
    }

    // SAFETY: 8 numbers are read and written; otherwise as above.
    unsafe impl Simd for __m256 {
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: passed on to the caller.
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: passed on to the caller.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: passed on to the caller.
            unsafe { _mm256_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            // SAFETY: passed on to the caller.
            unsafe { _mm256_mul_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn times_plus(self, other: Self, sum: Self) -> Self {
            // SAFETY: passed on to the caller.
            unsafe { _mm256_fmadd_ps(self, other, sum) }
        }

        #[inline(always)]
        unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
            // SAFETY: passed on to the caller.
            unsafe { transpose(from, stride, to, to_stride) }
        }
    }

    /// Pairs of rows are interleaved, then pairs of pairs, then the halves of registers change places.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: passed on to the caller.
        unsafe {
            let rows: [__m256; TURN] = std::array::from_fn(|i| _mm256_loadu_ps(from.add(i * stride)));
            let low = |i: usize| _mm256_unpacklo_ps(rows[i], rows[i + 1]);
            let high = |i: usize| _mm256_unpackhi_ps(rows[i], rows[i + 1]);
            let fours = |i: usize| {
                let (l0, l1, h0, h1) = (low(i), low(i + 2), high(i), high(i + 2));
                [
                    _mm256_shuffle_ps::<0x44>(l0, l1),
                    _mm256_shuffle_ps::<0xee>(l0, l1),
                    _mm256_shuffle_ps::<0x44>(h0, h1),
                    _mm256_shuffle_ps::<0xee>(h0, h1),
                ]
            };
            let (top, bottom) = (fours(0), fours(4));
            for i in 0..4 {
                _mm256_storeu_ps(to.add(i * to_stride), _mm256_permute2f128_ps::<0x20>(top[i], bottom[i]));
                _mm256_storeu_ps(to.add((i + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(top[i], bottom[i]));
            }
        }
    }
}
