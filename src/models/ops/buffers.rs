//! Buffers that are used again, from layer to layer and from step to step: fresh memory costs a page fault every 4 KiB, and
//! zeros that nobody reads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Tensor};

/// Smaller ones cost the allocator little.
const SMALLEST: usize = 1 << 14;

/// Whether a buffer of the larger size may stand for one of the smaller: rows of different steps differ a little, and what a
/// layer keeps for backward should not lie in a buffer that is much too large.
fn near(smaller: usize, larger: usize) -> bool {
    larger - smaller <= smaller / 4
}

struct Pool(Mutex<Buffers>);

static POOL: Pool = Pool::new();

struct Buffers {
    free: Vec<Free>,
    /// Tokens of the longest row since they were cleared.
    row: usize,
}

struct Free {
    buffer: Vec<f32>,
    /// Whether it lay here at the last [`free_unused`] already.
    stale: bool,
}

impl Free {
    fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

impl Pool {
    const fn new() -> Self {
        Self(Mutex::new(Buffers { free: Vec::new(), row: 0 }))
    }

    fn take(&self, len: usize) -> Vec<f32> {
        if len < SMALLEST {
            return vec![0.0; len];
        }
        let mut buffers = lock(&self.0);
        let free = &mut buffers.free;
        let fits = |b: &Free| b.capacity() >= len && near(len, b.capacity());
        let best = free.iter().enumerate().filter(|(_, b)| fits(b)).min_by_key(|(_, b)| b.capacity()).map(|(i, _)| i);
        match best {
            Some(i) => {
                let mut buffer = free.swap_remove(i).buffer;
                buffer.resize(len, 0.0);
                buffer
            }
            None => {
                // One that was outgrown makes room, so that what is held doesn't grow with the number of sizes.
                let outgrown = free.iter().position(|b| b.capacity() < len && near(b.capacity(), len));
                outgrown.map(|i| free.swap_remove(i));
                drop(buffers);
                vec![0.0; len]
            }
        }
    }

    fn give_back(&self, buffer: Vec<f32>) {
        if buffer.capacity() >= SMALLEST {
            lock(&self.0).free.push(Free { buffer, stale: false });
        }
    }

    fn begin_row(&self, tokens: usize) {
        let mut buffers = lock(&self.0);
        let row = buffers.row;
        if near(row.min(tokens), row.max(tokens)) {
            buffers.row = row.max(tokens);
        } else {
            *buffers = Buffers { free: Vec::new(), row: tokens };
        }
    }

    fn free_unused(&self) {
        let free = &mut lock(&self.0).free;
        free.retain(|b| !b.stale);
        free.iter_mut().for_each(|b| b.stale = true);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers, `[len]`, that somebody else left behind.
pub fn take(len: usize) -> Vec<f32> {
    POOL.take(len)
}

/// As [`take`], all zero.
pub fn zeros(len: usize) -> Vec<f32> {
    let mut buffer = take(len);
    buffer.fill(0.0);
    buffer
}

/// A tensor `[shape...]` of [`take`]'s numbers, to be overwritten.
///
/// # Errors
/// If the device has no memory for it.
pub fn tensor(shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    match device {
        Device::Cpu => Tensor::from_vec(take(shape.elem_count()), shape, device),
        // The driver keeps a pool of its own.
        // SAFETY: whoever asks overwrites all of it before it is read.
        _ => unsafe { Tensor::empty(shape, DType::F32, device) },
    }
}

/// A copy of `x` that nobody else holds. It has the shape of `x`, `[...]`.
///
/// # Errors
/// If the device has no memory for it.
pub fn copy(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return x.force_contiguous();
    }
    let copy = tensor(x.shape(), x.device())?;
    copy.slice_set(&x.contiguous()?, 0, 0)?;
    Ok(copy)
}

/// Takes the numbers out of a tensor, of any shape `[...]`, whose storage nobody else reads any more.
///
/// # Errors
/// If the device fails.
pub fn give_back(tensor: Tensor) -> Result<()> {
    let taken = Take(Mutex::new(None));
    tensor.inplace_op1(&taken)?;
    if let Some(Taken::Cpu(CpuStorage::F32(buffer))) = lock(&taken.0).take() {
        POOL.give_back(buffer);
    }
    Ok(())
}

/// Says how many tokens are computed next. Buffers of a much longer or shorter row would fit nothing, so they make room.
pub fn begin_row(tokens: usize) {
    POOL.begin_row(tokens);
}

/// Frees the buffers that nobody has taken since the last call. To be called after each step of a kind, so that what is held
/// is what one step needs, whatever sizes there were before.
pub fn free_unused() {
    POOL.free_unused();
}

/// Moves the numbers out of a tensor.
pub struct Take(pub Mutex<Option<Taken>>);

/// The storage of a tensor that was.
pub enum Taken {
    Cpu(CpuStorage),
    #[cfg(feature = "cuda")]
    Cuda(candle_core::CudaStorage),
}

impl InplaceOp1 for Take {
    fn name(&self) -> &'static str {
        "take"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        *lock(&self.0) = Some(Taken::Cpu(std::mem::replace(storage, CpuStorage::F32(Vec::new()))));
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut candle_core::CudaStorage, _: &Layout) -> Result<()> {
        let device = storage.device.clone();
        let nothing = super::cuda::storage(super::cuda::alloc::<f32>(&device, 0)?, &device);
        *lock(&self.0) = Some(Taken::Cuda(std::mem::replace(storage, nothing)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_for_what_fits() {
        let pool = Pool::new();
        let buffer = vec![7.0; 100_000];
        let place = buffer.as_ptr();
        pool.give_back(buffer);
        let again = pool.take(90_000);
        assert_eq!((again.as_ptr(), again.len()), (place, 90_000));
        pool.give_back(again);
        let whole = pool.take(100_000);
        assert_eq!((whole.as_ptr(), whole.len()), (place, 100_000));
        pool.give_back(whole);
        let smaller = pool.take(60_000);
        assert_ne!(smaller.as_ptr(), place, "it is much too large");
    }

    #[test]
    fn a_copy_is_one_of_its_own() -> Result<()> {
        let x = Tensor::arange(0f32, 30_000.0, &Device::Cpu)?.reshape((100, 300))?;
        for x in [&x, &x.t()?] {
            let (before, copy) = (x.to_vec2::<f32>()?, copy(x)?);
            assert!(copy.is_contiguous() && copy.to_vec2::<f32>()? == before);
            give_back(copy)?;
            assert_eq!(x.to_vec2::<f32>()?, before, "its numbers are its own");
        }
        Ok(())
    }

    #[test]
    fn what_was_outgrown_makes_room() {
        let pool = Pool::new();
        pool.give_back(vec![0.0; 20_000]);
        assert_eq!(pool.take(24_000).len(), 24_000);
        assert!(lock(&pool.0).free.is_empty());
    }

    #[test]
    fn rows_that_become_shorter_little_by_little_do_not_leave_the_longest_ones_behind() {
        let pool = Pool::new();
        for tokens in [500, 420, 360] {
            pool.begin_row(tokens);
            let buffer = pool.take(tokens * 100);
            pool.give_back(buffer);
        }
        assert_eq!(lock(&pool.0).free.iter().map(Free::capacity).collect::<Vec<_>>(), [36_000]);
    }

    #[test]
    fn what_a_whole_step_did_not_take_is_freed() {
        let pool = Pool::new();
        pool.give_back(vec![0.0; 20_000]);
        pool.give_back(vec![0.0; 90_000]);
        pool.free_unused();
        assert_eq!(lock(&pool.0).free.len(), 2, "they were in use in the step that ends");
        let taken = pool.take(90_000);
        pool.give_back(taken);
        pool.free_unused();
        assert_eq!(lock(&pool.0).free.iter().map(Free::capacity).collect::<Vec<_>>(), [90_000]);
    }
}
