//! The part of a matrix product that one thread computes (after Goto & van de Geijn 2008).
//!
//! The right side is copied, block by block, into panels as wide as a tile of the result, so that what the inner loop reads
//! is contiguous and near; the sums of a tile stay in registers. Each number of the result is one chain of fused
//! multiply-adds over [`DEPTH`] products after the other. That chain is the same for every kind of processor and however
//! the rows and columns were shared out, and so are the bits.

use std::ops::Range;

use super::simd::{Portable, Simd, TURN};
use crate::models::ops::{numbers::Numbers, strides::Strides};

/// Products that are summed in registers before the sum goes to memory. A panel of this depth fits the first-level cache.
const DEPTH: usize = 192;

/// Columns that are packed at a time: a block of them fits the second-level cache, with the rows of the left side.
const COLUMNS: usize = 192;
const ROWS: usize = 256;

/// The widest tile, in numbers.
const WIDEST: usize = 48;

/// Numbers in a cache line.
const LINE: usize = 16;

/// What is to be computed: `c = scale * a b`, or `c += ...`; `[m, k] x [k, n]`.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    pub shape: (usize, usize, usize),
    pub c: *mut f32,
    pub c_strides: Strides,
    pub accumulate: bool,
    pub a: *const f32,
    pub a_strides: Strides,
    pub b: Numbers<'a>,
    pub b_strides: Strides,
    pub scale: f32,
}

// SAFETY: a product is an order to compute; who carries it out keeps threads apart.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// The product of some of the rows and some of the columns.
    pub fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        let Strides { rows: down, columns: across } = self.c_strides;
        Self {
            shape: (rows.len(), columns.len(), self.shape.2),
            c: self.c.wrapping_add(rows.start * down + columns.start * across),
            a: self.a.wrapping_add(rows.start * self.a_strides.rows),
            b: self.b.slice(columns.start * self.b_strides.columns, self.b.len()),
            ..*self
        }
    }

    /// # Safety
    /// Every element of the three matrices must be in bounds, and nobody else may touch those of `c`.
    pub unsafe fn compute(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::{is_x86_feature_detected, x86_64};

            #[target_feature(enable = "avx512f,avx2,fma")]
            unsafe fn avx512(product: &Product) {
                // SAFETY: the instructions are there; the rest is passed on to the caller.
                unsafe { product.by_blocks::<x86_64::__m512, 8, 3>() }
            }

            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2(product: &Product) {
                // SAFETY: as above.
                unsafe { product.by_blocks::<x86_64::__m256, 6, 2>() }
            }

            let narrow = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if narrow && is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has the instructions; the rest is passed on to the caller.
                return unsafe { avx512(self) };
            }
            if narrow {
                // SAFETY: as above.
                return unsafe { avx2(self) };
            }
        }
        // SAFETY: passed on to the caller.
        unsafe { self.by_blocks::<Portable, 8, 3>() }
    }

    /// Tiles are `R` rows of `V` registers.
    #[inline(always)]
    unsafe fn by_blocks<S: Simd, const R: usize, const V: usize>(&self) {
        let (m, n, k) = self.shape;
        if k == 0 && !self.accumulate {
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                // SAFETY: passed on to the caller.
                unsafe { *self.c.add(i * self.c_strides.rows + j * self.c_strides.columns) = 0.0 }
            }
        }
        let mut panels = Panels::take();
        for column in (0..n).step_by(COLUMNS) {
            let columns = COLUMNS.min(n - column);
            for from in (0..k).step_by(DEPTH) {
                let depth = DEPTH.min(k - from);
                for at in (0..columns).step_by(V * S::LANES) {
                    let width = (V * S::LANES).min(columns - at);
                    // SAFETY: passed on to the caller.
                    unsafe { self.pack::<S>(&mut panels, (from, depth), (column + at, width), at * DEPTH) }
                }
                for row in (0..m).step_by(ROWS) {
                    let rows = row..(row + ROWS).min(m);
                    for at in (0..columns).step_by(V * S::LANES) {
                        let width = (V * S::LANES).min(columns - at);
                        let strip =
                            Strip { product: self, rows: rows.clone(), column: column + at, width, from, depth };
                        let panel = panels.numbers()[at * DEPTH..].as_ptr();
                        // SAFETY: passed on to the caller; the panel was just packed.
                        unsafe {
                            match width.div_ceil(S::LANES) {
                                1 => strip.compute::<S, R, 1>(panel),
                                2 => strip.compute::<S, R, 2>(panel),
                                _ => strip.compute::<S, R, V>(panel),
                            }
                        }
                    }
                }
            }
        }
        panels.give_back();
    }

    /// Copies `depth` rows of `width` columns of the right side to `panels`, at `place`, the columns filled up with zeros to
    /// whole registers.
    #[inline(always)]
    unsafe fn pack<S: Simd>(
        &self,
        panels: &mut Panels,
        (from, depth): (usize, usize),
        (column, width): (usize, usize),
        place: usize,
    ) {
        let Strides { rows, columns } = self.b_strides;
        let first = from * rows + column * columns;
        let padded = width.next_multiple_of(S::LANES);
        let (panel, scratch) = panels.split(place, padded * depth);
        if columns == 1 {
            for (i, to) in panel.chunks_exact_mut(padded).enumerate() {
                let (to, rest) = to.split_at_mut(width);
                self.b.slice(first + i * rows, first + i * rows + width).convert(to);
                rest.fill(0.0);
            }
            return;
        }
        // Each column lies in one piece, or is gathered into one.
        let mut source = (std::ptr::null(), columns);
        match self.b {
            Numbers::F32(all) if rows == 1 => source.0 = all[first..].as_ptr(),
            b => {
                for (j, to) in scratch.chunks_exact_mut(DEPTH).take(width).enumerate() {
                    let start = first + j * columns;
                    if rows == 1 {
                        b.slice(start, start + depth).convert(&mut to[..depth]);
                    } else {
                        for (p, to) in to[..depth].iter_mut().enumerate() {
                            b.slice(start + p * rows, start + p * rows + 1).convert(std::slice::from_mut(to));
                        }
                    }
                }
                source = (scratch.as_ptr(), DEPTH);
            }
        }
        // SAFETY: the source has `width` columns of `depth` numbers, the panel `depth` rows of `padded` numbers.
        unsafe { transpose::<S>(source, (width, depth), panel.as_mut_ptr(), padded) }
        for to in panel.chunks_exact_mut(padded) {
            to[width..].fill(0.0);
        }
    }
}

/// Writes `count` runs of `len` numbers as columns; the runs begin `stride` apart.
#[inline(always)]
unsafe fn transpose<S: Simd>(
    (from, stride): (*const f32, usize),
    (count, len): (usize, usize),
    to: *mut f32,
    to_stride: usize,
) {
    let (whole_count, whole_len) = (count / TURN * TURN, len / TURN * TURN);
    for p in (0..whole_len).step_by(TURN) {
        for j in (0..whole_count).step_by(TURN) {
            // SAFETY: the blocks lie within both matrices.
            unsafe { S::transpose(from.add(j * stride + p), stride, to.add(p * to_stride + j), to_stride) }
        }
    }
    for p in 0..len {
        let start = if p < whole_len { whole_count } else { 0 };
        for j in start..count {
            // SAFETY: as above.
            unsafe { *to.add(p * to_stride + j) = *from.add(j * stride + p) }
        }
    }
}

/// The rows and columns of the result that one panel gives, and the part of the sum.
struct Strip<'a> {
    product: &'a Product<'a>,
    rows: Range<usize>,
    column: usize,
    width: usize,
    from: usize,
    depth: usize,
}

impl Strip<'_> {
    #[inline(always)]
    unsafe fn compute<S: Simd, const R: usize, const V: usize>(&self, panel: *const f32) {
        let mut row = self.rows.start;
        while row < self.rows.end {
            // SAFETY: passed on to the caller.
            row += unsafe {
                match self.rows.end - row {
                    left if left >= R => self.tile::<S, R, V>(row, panel),
                    4.. => self.tile::<S, 4, V>(row, panel),
                    2.. => self.tile::<S, 2, V>(row, panel),
                    _ => self.tile::<S, 1, V>(row, panel),
                }
            };
        }
    }

    /// Computes `R` rows from `row` on, and returns `R`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(&self, row: usize, panel: *const f32) -> usize {
        let Product { a, a_strides, c, c_strides, scale, .. } = *self.product;
        let accumulate = self.product.accumulate || self.from > 0;
        // SAFETY: passed on to the caller.
        unsafe {
            let a = a.add(row * a_strides.rows + self.from * a_strides.columns);
            let c = c.add(row * c_strides.rows + self.column * c_strides.columns);
            let sums = sums::<S, R, V>(self.depth, a, a_strides, panel);
            if c_strides.columns == 1 && self.width == V * S::LANES {
                write(&sums, c, c_strides.rows, accumulate, scale);
                return R;
            }
            let mut block = [[0f32; WIDEST]; R];
            for (i, numbers) in block.iter_mut().enumerate().filter(|_| accumulate) {
                for (j, x) in numbers[..self.width].iter_mut().enumerate() {
                    *x = *c.add(i * c_strides.rows + j * c_strides.columns);
                }
            }
            write(&sums, block.as_mut_ptr().cast(), WIDEST, accumulate, scale);
            for (i, numbers) in block.iter().enumerate() {
                for (j, x) in numbers[..self.width].iter().enumerate() {
                    *c.add(i * c_strides.rows + j * c_strides.columns) = *x;
                }
            }
        }
        R
    }
}

#[inline(always)]
unsafe fn sums<S: Simd, const R: usize, const V: usize>(
    depth: usize,
    a: *const f32,
    a_strides: Strides,
    panel: *const f32,
) -> [[S; V]; R] {
    // SAFETY: passed on to the caller.
    unsafe {
        let mut sums = [[S::splat(0.0); V]; R];
        for p in 0..depth {
            let right: [S; V] = std::array::from_fn(|v| S::load(panel.add((p * V + v) * S::LANES)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = S::splat(*a.add(i * a_strides.rows + p * a_strides.columns));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = left.times_plus(right, *sum);
                }
            }
        }
        sums
    }
}

#[inline(always)]
unsafe fn write<S: Simd, const R: usize, const V: usize>(
    sums: &[[S; V]; R],
    c: *mut f32,
    rows: usize,
    accumulate: bool,
    scale: f32,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        let scale = S::splat(scale);
        for (i, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let to = c.add(i * rows + v * S::LANES);
                let sum = if accumulate { scale.times_plus(*sum, S::load(to)) } else { scale.times(*sum) };
                sum.store(to);
            }
        }
    }
}

/// A thread's buffer for packed panels, and for columns that have to be converted before.
struct Panels(Vec<f32>);

thread_local! {
    static PANELS: std::cell::Cell<Vec<f32>> = const { std::cell::Cell::new(Vec::new()) };
}

impl Panels {
    const PACKED: usize = COLUMNS * DEPTH;

    fn take() -> Self {
        let mut numbers = PANELS.take();
        numbers.resize(Self::PACKED + WIDEST * DEPTH + LINE, 0.0);
        Self(numbers)
    }

    fn give_back(self) {
        PANELS.set(self.0);
    }

    /// From the first cache line on.
    fn numbers(&mut self) -> &mut [f32] {
        let offset = self.0.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        &mut self.0[offset..]
    }

    /// `len` packed numbers at `place`, and the rest of the buffer.
    fn split(&mut self, place: usize, len: usize) -> (&mut [f32], &mut [f32]) {
        let (packed, scratch) = self.numbers().split_at_mut(Self::PACKED);
        (&mut packed[place..place + len], scratch)
    }
}
