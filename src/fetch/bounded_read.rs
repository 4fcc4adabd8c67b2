//! A reader that gives so much and no more.

use std::{cell::Cell, io::Read};

/// Fails, rather than ends, after `left` bytes.
pub(super) struct Bounded<'a, R> {
    pub inner: R,
    /// Bytes.
    pub left: u64,
    /// Set when nothing was left to read.
    pub ended: &'a Cell<bool>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.ended.set(self.ended.get() || (n == 0 && !buf.is_empty()));
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| std::io::Error::other("it unpacks to far more than archives of its size do"))?;
        Ok(n)
    }
}
