//! Rotary position embedding (Su et al. 2021).

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Result, Tensor};
use rayon::prelude::*;

use super::{
    math,
    operands::{rows_per_task, values, values_mut},
};

/// Which numbers of a head form a rotated pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// `(i, i + dim / 2)`, as GPT-NeoX, Llama and Qwen do.
    Halves,
    /// `(2 i, 2 i + 1)`, as GPT-J and ChatGLM do.
    Interleaved,
}

/// How a backbone rotates its queries and keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotary {
    pub pairs: Pairs,
    /// The first `dim` numbers of each head are rotated.
    pub dim: usize,
    pub theta: f64,
}

impl Rotary {
    /// Cosines, then sines, of every position: `[positions, dim]`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn table(&self, positions: &[u32], device: &Device) -> Result<Tensor> {
        let half = self.dim / 2;
        let frequencies: Vec<f32> =
            (0..half).map(|i| (1.0 / self.theta.powf(2.0 * i as f64 / self.dim as f64)) as f32).collect();
        let row = |position: u32| -> Vec<f32> {
            // The angle is rounded to f32 before the cosine is taken, as the reference implementations do.
            let angles = frequencies.iter().map(|f| f64::from(position as f32 * f));
            angles.clone().map(|a| a.cos() as f32).chain(angles.map(|a| a.sin() as f32)).collect()
        };
        // Samples of a row have the same positions.
        let mut distinct = positions.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let rows: Vec<Vec<f32>> = distinct.par_iter().map(|position| row(*position)).collect();
        let at = |position: &u32| rows[distinct.partition_point(|d| d < position)].as_slice();
        let table = positions.iter().map(at).collect::<Vec<_>>().concat();
        Tensor::from_vec(table, (positions.len(), self.dim), device)
    }
}

struct Rotate {
    pairs: Pairs,
    dim: usize,
    heads: usize,
    head_dim: usize,
    sign: f32,
}

math::vectorised! {
    /// Turns the heads of one row, `[heads * head_dim]`; angles are `[cosines | sines]`, and `sign` the direction.
    pub fn turn_halves(heads: &mut [f32], head_dim: usize, angles: &[f32], sign: f32) {
        let (cos, sin) = angles.split_at(angles.len() / 2);
        for head in heads.chunks_exact_mut(head_dim) {
            let (low, high) = head[..angles.len()].split_at_mut(cos.len());
            for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let s = sign * s;
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
    }

    /// As [`turn_halves`], `[heads * head_dim]` by `[cosines | sines]`, where the two numbers of a pair stand side by side.
    pub fn turn_interleaved(heads: &mut [f32], head_dim: usize, angles: &[f32], sign: f32) {
        let (cos, sin) = angles.split_at(angles.len() / 2);
        for head in heads.chunks_exact_mut(head_dim) {
            for ((pair, c), s) in head[..angles.len()].chunks_exact_mut(2).zip(cos).zip(sin) {
                let s = sign * s;
                (pair[0], pair[1]) = (pair[0] * c - pair[1] * s, pair[1] * c + pair[0] * s);
            }
        }
    }
}

impl Rotate {
    /// Rows and their width, where heads and angles go with them.
    fn check(&self, x: &Layout, table: &Layout) -> Result<(usize, usize)> {
        let (rows, width) = x.shape().dims2()?;
        if table.shape().dims2()? != (rows, self.dim) || self.heads * self.head_dim > width {
            candle_core::bail!("rotary: {} heads of {} don't fit [{rows}, {width}]", self.heads, self.head_dim)
        }
        Ok((rows, width))
    }
}

impl InplaceOp2 for Rotate {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, lx: &Layout, table: &CpuStorage, lt: &Layout) -> Result<()> {
        let (_, width) = self.check(lx, lt)?;
        let x = values_mut("rotary", x, lx)?;
        let table = values("rotary", table, lt)?;
        let rows = rows_per_task(width);
        x.par_chunks_mut(rows * width).zip(table.par_chunks(rows * self.dim)).for_each(|(x, table)| {
            for (x, angles) in x.chunks_exact_mut(width).zip(table.chunks_exact(self.dim)) {
                let heads = &mut x[..self.heads * self.head_dim];
                match self.pairs {
                    Pairs::Halves => turn_halves(heads, self.head_dim, angles, self.sign),
                    Pairs::Interleaved => turn_interleaved(heads, self.head_dim, angles, self.sign),
                }
            }
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &mut CudaStorage, lx: &Layout, table: &CudaStorage, lt: &Layout) -> Result<()> {
        use super::cuda::{self, ELEMENTWISE, launch, over};
        let (rows, width) = self.check(lx, lt)?;
        let (x, angles) = (cuda::values_mut("rotary", x, lx)?, cuda::values("rotary", table, lt)?);
        let interleaved = i32::from(self.pairs == Pairs::Interleaved);
        let (heads, head_dim, dim) = (self.heads as i32, self.head_dim as i32, self.dim as i32);
        launch!(
            &table.device,
            ELEMENTWISE,
            "rotary",
            over(rows * self.heads * self.dim / 2),
            (x, angles, rows, width as i32, heads, head_dim, dim, self.sign, interleaved)
        );
        Ok(())
    }
}

/// Rotates the first `heads` heads of every row of `x` (`[tokens, width]`) in place; `table` (`[tokens, dim]`) is
/// [`Rotary::table`].
///
/// # Errors
/// If the heads don't fit the rows of `x`, `table` has not one row for each of them, or the device fails.
pub fn rotate(x: &Tensor, table: &Tensor, rotary: Rotary, heads: usize, head_dim: usize) -> Result<()> {
    x.inplace_op2(table, &Rotate { pairs: rotary.pairs, dim: rotary.dim, heads, head_dim, sign: 1.0 })
}

/// The opposite rotation of `x` (`[tokens, width]`) by `table` (`[tokens, dim]`): also the gradient of [`rotate`].
///
/// # Errors
/// As [`rotate`].
pub fn rotate_back(x: &Tensor, table: &Tensor, rotary: Rotary, heads: usize, head_dim: usize) -> Result<()> {
    x.inplace_op2(table, &Rotate { pairs: rotary.pairs, dim: rotary.dim, heads, head_dim, sign: -1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::test_models::{assert_close, assert_gradient, random};

    const HEADS: usize = 3;
    const HEAD_DIM: usize = 8;

    /// Two heads of three are rotated; `dim` of 4 leaves half of each head alone.
    fn rotated(x: &Tensor, rotary: Rotary) -> Result<Tensor> {
        let y = x.force_contiguous()?;
        rotate(&y, &rotary.table(&[0, 1, 5, 9], &Device::Cpu)?, rotary, 2, HEAD_DIM)?;
        Ok(y)
    }

    #[test]
    fn turns_pairs_by_position() -> Result<()> {
        for (pairs, (i, j)) in [(Pairs::Halves, (1, 5)), (Pairs::Interleaved, (2, 3))] {
            let rotary = Rotary { pairs, dim: HEAD_DIM, theta: 100.0 };
            let x = random(&[4, HEADS * HEAD_DIM], 1);
            let y = rotated(&x, rotary)?.to_vec2::<f32>()?;
            let x = x.to_vec2::<f32>()?;
            let angle = 5.0 / 100f64.powf(2.0 / 8.0);
            let (s, c) = (angle.sin() as f32, angle.cos() as f32);
            assert!((y[2][i] - (x[2][i] * c - x[2][j] * s)).abs() < 1e-6);
            assert!((y[2][j] - (x[2][j] * c + x[2][i] * s)).abs() < 1e-6);
            assert_eq!(y[0], x[0], "position 0 isn't turned");
            assert_eq!(y[2][2 * HEAD_DIM..], x[2][2 * HEAD_DIM..], "the third head isn't turned");
        }
        Ok(())
    }

    #[test]
    fn backward_is_the_gradient() -> Result<()> {
        for (pairs, dim) in [(Pairs::Halves, 8), (Pairs::Interleaved, 4)] {
            let rotary = Rotary { pairs, dim, theta: 100.0 };
            let (x, g) = (random(&[4, HEADS * HEAD_DIM], 1), random(&[4, HEADS * HEAD_DIM], 2));
            let back = g.force_contiguous()?;
            rotate_back(&back, &rotary.table(&[0, 1, 5, 9], &Device::Cpu)?, rotary, 2, HEAD_DIM)?;
            assert_gradient(&x, &back, |x| (rotated(x, rotary)? * &g)?.sum_all());
            let restored = rotated(&back, rotary)?;
            assert_close(&restored, &g, 1e-6);
        }
        Ok(())
    }
}
