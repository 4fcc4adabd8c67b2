//! A mask of attention as `attention.cu` reads it, and where a mask keeps that.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, cuda_backend::cudarc::driver::CudaSlice};

use super::Pointer;
use crate::models::ops::heads::Heads;

/// A mask as the kernels read it, for one kind of heads and length of prefix.
#[derive(Debug)]
pub struct Lists {
    /// All lists, one after the other.
    pub numbers: CudaSlice<i32>,
    pub blocks: usize,
    pub runs: usize,
    pub row_tiles: usize,
    pub row_tile_count: usize,
    pub key_tiles: usize,
    pub key_tile_count: usize,
    pub tasks: usize,
    pub task_count: usize,
    pub visits: usize,
}

impl Lists {
    /// Where a list begins.
    pub fn at(&self, list: usize) -> Pointer {
        Pointer::of(&self.numbers).offset::<i32>(list)
    }
}

/// Lists are made once for a mask, whose layers all have the same heads.
#[derive(Debug, Default)]
pub struct Cached(Mutex<Option<(Heads, usize, Arc<Lists>)>>);

impl Cached {
    /// The lists for so many virtual tokens, made where they aren't here.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get(&self, heads: Heads, virtual_tokens: usize, make: impl FnOnce() -> Result<Lists>) -> Result<Arc<Lists>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some((h, v, lists)) if (*h, *v) == (heads, virtual_tokens) => Ok(lists.clone()),
            _ => {
                let lists = Arc::new(make()?);
                *held = Some((heads, virtual_tokens, lists.clone()));
                Ok(lists)
            }
        }
    }
}
