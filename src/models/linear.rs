//! Frozen linear layers with an optional low-rank change, whose rows may have lengths of their own.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::{
    adapters::{Adapter, LowRank, RowLengths},
    backbone::{Mode, Module},
    ops::{
        add::add_in_place,
        buffers,
        dropout::{self, Dropout},
        gemm,
    },
    seeded,
};
use crate::base::error::Error;

/// `y = x W^T + b`, with `W` `[outputs, inputs]` and `b` `[outputs]`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Path in the published weights, without `.weight`.
    pub path: String,
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Linear {
    fn outputs(&self) -> Result<usize> {
        self.weight.dim(0)
    }

    /// Lengths of the rows of `W + scale * B A`, `[outputs]`, outside the graph. The product itself is never made:
    /// `|w + s b A|^2 = |w|^2 + 2 s b (A w^T) + s^2 b (A A^T) b^T` for each row `w` of `W` and `b` of `B`.
    fn changed_lengths(&self, low: &LowRank, lengths: &RowLengths) -> Result<Tensor> {
        let (a, b) = (low.a.detach(), low.b.detach());
        let mixed = (gemm::product(&a, &self.weight.t()?, 1.0)?.t()? * &b)?.sum(1)?;
        let own = (gemm::product(&b, &gemm::product(&a, &a.t()?, 1.0)?, 1.0)? * &b)?.sum(1)?;
        let squares = ((&lengths.squares + (mixed * (2.0 * low.scale))?)? + (own * low.scale.powi(2))?)?;
        squares.relu()?.sqrt()
    }
}

/// Linear layers that read the same input; their results stand side by side.
#[derive(Debug, Clone)]
pub struct Projection {
    pub linears: Vec<Linear>,
    inputs: usize,
    outputs: usize,
    /// `[outputs]`
    bias: Option<Tensor>,
}

/// The low-rank changes of one projection in one forward pass.
#[derive(Debug, Clone)]
pub struct Changes {
    /// All matrices, flattened, one after the other: the tensor that receives the gradient. One unused number where
    /// nothing is changed. `[numbers]`.
    pub flat: Tensor,
    parts: Vec<Option<Part>>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    /// Where `A` begins in `flat`; `B` follows, and where rows have lengths of their own the factors that give them these.
    offset: usize,
    rank: usize,
    scale: f64,
    dropout: Option<Dropout>,
    /// Whether the factors of the rows follow `B`.
    lengths: bool,
}

impl Changes {
    /// The flat tensors of several projections as one. `[numbers]`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn join<const N: usize>(changes: &[Self; N]) -> Result<Tensor> {
        Tensor::cat(&changes.each_ref().map(|c| &c.flat), 0)
    }

    /// Gradients of [`Changes::join`]'s result, `[numbers]`, from those of its parts, where a missing one is zero.
    ///
    /// # Errors
    /// If the device fails.
    pub fn join_gradients<const N: usize>(changes: &[Self; N], gradients: [Option<Tensor>; N]) -> Result<Tensor> {
        let parts = changes.iter().zip(gradients).map(|(c, g)| g.map_or_else(|| c.flat.zeros_like(), Ok));
        Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
    }

    /// Outside the graph.
    pub fn detached(&self) -> Self {
        Self { flat: self.flat.detach(), parts: self.parts.clone() }
    }

    /// Whether backward reads what the projection read.
    pub fn any(&self) -> bool {
        self.parts.iter().any(Option::is_some)
    }
}

/// A layer, its change, its first column and its width in the output.
type Slice<'a> = (&'a Linear, Option<Part>, usize, usize);

impl Projection {
    /// Layers with the same number of inputs, side by side in this order.
    ///
    /// # Errors
    /// If a weight isn't a matrix, or the device fails.
    pub fn new(linears: Vec<Linear>) -> Result<Self> {
        let inputs = linears.first().map_or(Ok(0), |l| l.weight.dim(1))?;
        let mut outputs = 0;
        for linear in &linears {
            outputs += linear.outputs()?;
        }
        let bias = if linears.iter().any(|l| l.bias.is_some()) {
            let biases = linears.iter().map(|l| match &l.bias {
                Some(bias) => Ok(bias.clone()),
                None => Tensor::zeros(l.outputs()?, DType::F32, l.weight.device()),
            });
            Some(Tensor::cat(&biases.collect::<Result<Vec<_>>>()?, 0)?)
        } else {
            None
        };
        Ok(Self { linears, inputs, outputs, bias })
    }

    /// The layers as adapters name them.
    ///
    /// # Errors
    /// If a weight isn't a matrix.
    pub fn modules(&self) -> Result<Vec<Module>> {
        self.linears
            .iter()
            .map(|l| Ok(Module { path: l.path.clone(), inputs: self.inputs, outputs: l.outputs()? }))
            .collect()
    }

    /// What `adapter` changes in these layers.
    ///
    /// # Errors
    /// If the lengths of a layer don't fit its change, or the device fails.
    pub fn changes(&self, adapter: &dyn Adapter, mode: Mode) -> Result<Changes> {
        let mut flat = Vec::new();
        let mut offset = 0;
        let mut parts = Vec::new();
        for linear in &self.linears {
            parts.push(match adapter.low_rank(&linear.path) {
                None => None,
                Some(low) => {
                    let dropout = match mode {
                        Mode::Train { seed, pass, .. } if low.dropout > 0.0 => {
                            let key = seeded::key(seed, pass, &linear.path);
                            let key = u64::from_le_bytes(std::array::from_fn(|i| key[i]));
                            Some(Dropout { p: low.dropout, key })
                        }
                        _ => None,
                    };
                    let lengths = low.lengths.is_some();
                    let part = Part { offset, rank: low.a.dim(0)?, scale: low.scale, dropout, lengths };
                    offset += low.a.elem_count() + low.b.elem_count();
                    flat.extend([low.a.flatten_all()?, low.b.flatten_all()?]);
                    if let Some(lengths) = &low.lengths {
                        offset += lengths.trained.elem_count();
                        flat.push((&lengths.trained / linear.changed_lengths(&low, lengths)?)?);
                    }
                    Some(part)
                }
            });
        }
        let flat = match self.linears.first() {
            Some(linear) if flat.is_empty() => Tensor::zeros(1, DType::F32, linear.weight.device())?,
            _ => Tensor::cat(&flat, 0)?,
        };
        Ok(Changes { flat, parts })
    }

    /// The layers, each with its change and the columns that it writes.
    fn each<'a>(&'a self, parts: &'a [Option<Part>]) -> Result<Vec<Slice<'a>>> {
        let mut from = 0;
        self.linears
            .iter()
            .zip(parts)
            .map(|(linear, part)| {
                let width = linear.outputs()?;
                let item = (linear, *part, from, width);
                from += width;
                Ok(item)
            })
            .collect()
    }

    fn matrices(&self, flat: &Tensor, part: Part, outputs: usize) -> Result<(Tensor, Tensor)> {
        let Part { offset, rank, .. } = part;
        let a = flat.narrow(0, offset, rank * self.inputs)?.reshape((rank, self.inputs))?;
        let b = flat.narrow(0, offset + rank * self.inputs, outputs * rank)?.reshape((outputs, rank))?;
        Ok((a, b))
    }

    /// The format in which [`Projection::forward`] and [`Projection::backward`] read best: bf16 where a GPU multiplies what
    /// they read with matrices in bf16 and nothing else looks at it.
    pub fn operand(&self, changes: &Changes) -> DType {
        let halves = |l: &Linear| !l.weight.device().is_cpu() && l.weight.dtype() == DType::BF16;
        if !changes.any() && self.linears.iter().all(halves) { DType::BF16 } else { DType::F32 }
    }

    /// `[rows, inputs]` to `[rows, outputs]`, added to `onto` (which nobody else holds) where given. Outside the graph.
    ///
    /// # Errors
    /// If the shapes don't fit, or the device fails.
    pub fn forward(&self, x: &Tensor, changes: &Changes, onto: Option<Tensor>) -> Result<Tensor> {
        let flat = changes.flat.detach();
        let rows = x.dim(0)?;
        let filled = onto.is_some() || self.bias.is_some();
        let out = match onto {
            Some(onto) => {
                if let Some(bias) = &self.bias {
                    gemm::add(&onto, &ones(rows, x.device())?, &bias.unsqueeze(0)?, 1.0)?;
                }
                onto
            }
            None => {
                let out = buffers::tensor((rows, self.outputs), x.device())?;
                if let Some(bias) = &self.bias {
                    gemm::set(&out, &ones(rows, x.device())?, &bias.unsqueeze(0)?, 1.0)?;
                }
                out
            }
        };
        for (linear, part, from, width) in self.each(&changes.parts)? {
            let columns = out.narrow(1, from, width)?;
            let w = linear.weight.t()?;
            if let Some(part) = part.filter(|part| part.lengths) {
                let y = self.resized(linear, x, (&flat, part))?;
                let y = if filled { (columns + y)? } else { y };
                out.slice_set(&y, 1, from)?;
                continue;
            }
            if filled {
                gemm::add(&columns, x, &w, 1.0)?
            } else {
                gemm::set(&columns, x, &w, 1.0)?
            }
            if let Some(part) = part {
                let (a, b) = self.matrices(&flat, part, width)?;
                let low = with_dropout(x, part, |x| gemm::product(x, &a.t()?, 1.0))?;
                gemm::add(&columns, &low, &b.t()?, part.scale)?;
            }
        }
        Ok(out)
    }

    /// From the gradient of the result, `[rows, outputs]`: that of what [`Projection::forward`] read, `[rows, inputs]`,
    /// and where `read` is that, the gradient of `changes.flat`, `[numbers]`.
    ///
    /// # Errors
    /// If the shapes don't fit, or the device fails.
    pub fn backward(
        &self,
        read: Option<&Tensor>,
        changes: &Changes,
        grad: &Tensor,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let flat = changes.flat.detach();
        let d_flat = read.map(|_| flat.zeros_like()).transpose()?;
        let dx = buffers::tensor((grad.dim(0)?, self.inputs), grad.device())?;
        for (i, (linear, part, from, width)) in self.each(&changes.parts)?.into_iter().enumerate() {
            let g = grad.narrow(1, from, width)?;
            let frozen = |g: &Tensor| match i {
                0 => gemm::set(&dx, g, &linear.weight, 1.0),
                _ => gemm::add(&dx, g, &linear.weight, 1.0),
            };
            let Some(part) = part else {
                frozen(&g)?;
                continue;
            };
            let (a, b) = self.matrices(&flat, part, width)?;
            let grads = ChangeGradients::new(g, &b, part, self.factors(&flat, part, width)?)?;
            match part.dropout {
                None => {
                    frozen(&grads.resized)?;
                    gemm::add(&dx, &grads.low, &a, 1.0)?
                }
                Some(_) => {
                    frozen(&grads.whole)?;
                    let d_dropped = gemm::product(&grads.low, &a, 1.0)?;
                    if part.lengths {
                        gemm::add(&d_dropped, &(&grads.resized - &grads.whole)?, &linear.weight, 1.0)?;
                    }
                    with_dropout(&d_dropped, part, |d_x| add_in_place(&dx, d_x))?;
                    buffers::give_back(d_dropped)?;
                }
            }
            if let Some((x, d_flat)) = read.zip(d_flat.as_ref()) {
                self.change_part((linear, part), x, &flat, &grads, d_flat)?;
            }
        }
        Ok((dx, d_flat))
    }

    /// The second of [`Projection::backward`]'s gradients alone, `[numbers]`; `x` is `[rows, inputs]`, `grad`
    /// `[rows, outputs]`.
    ///
    /// # Errors
    /// If the shapes don't fit, or the device fails.
    pub fn change_gradient(&self, x: &Tensor, changes: &Changes, grad: &Tensor) -> Result<Tensor> {
        let flat = changes.flat.detach();
        let d_flat = flat.zeros_like()?;
        for (linear, part, from, width) in self.each(&changes.parts)? {
            let Some(part) = part else { continue };
            let (_, b) = self.matrices(&flat, part, width)?;
            let grads =
                ChangeGradients::new(grad.narrow(1, from, width)?, &b, part, self.factors(&flat, part, width)?)?;
            self.change_part((linear, part), x, &flat, &grads, &d_flat)?;
        }
        Ok(d_flat)
    }

    /// Gradients of what changes one layer, written into its place in `d_flat`.
    fn change_part(
        &self,
        (linear, part): (&Linear, Part),
        x: &Tensor,
        flat: &Tensor,
        grads: &ChangeGradients,
        d_flat: &Tensor,
    ) -> Result<()> {
        let width = linear.outputs()?;
        let (a, _) = self.matrices(flat, part, width)?;
        let (d_a, d_b) = self.matrices(d_flat, part, width)?;
        with_dropout(x, part, |x| {
            gemm::set(&d_b, &grads.resized.t()?, &gemm::product(x, &a.t()?, 1.0)?, part.scale)?;
            gemm::set(&d_a, &grads.low.t()?, x, 1.0)?;
            if part.lengths {
                let y = self.changed(linear, x, (flat, part))?;
                d_flat.slice_set(&(y * &grads.whole)?.sum(0)?, 0, self.place_of_factors(part, width))?;
            }
            Ok(())
        })
    }

    /// `(W + scale * B A) x`
    fn changed(&self, linear: &Linear, x: &Tensor, (flat, part): (&Tensor, Part)) -> Result<Tensor> {
        let (a, b) = self.matrices(flat, part, linear.outputs()?)?;
        let y = gemm::product(x, &linear.weight.t()?, 1.0)?;
        gemm::add(&y, &gemm::product(x, &a.t()?, 1.0)?, &b.t()?, part.scale)?;
        Ok(y)
    }

    /// What a layer gives whose rows have lengths of their own, without its bias. What dropout drops passes the frozen
    /// weight as it is.
    fn resized(&self, linear: &Linear, x: &Tensor, (flat, part): (&Tensor, Part)) -> Result<Tensor> {
        let factors = self.factors(flat, part, linear.outputs()?)?;
        with_dropout(x, part, |kept| {
            let y = self.changed(linear, kept, (flat, part))?;
            let y = factors.map_or(Ok(y.clone()), |factors| y.broadcast_mul(&factors))?;
            if part.dropout.is_some() {
                gemm::add(&y, &(x - kept)?, &linear.weight.t()?, 1.0)?;
            }
            Ok(y)
        })
    }

    fn place_of_factors(&self, part: Part, outputs: usize) -> usize {
        part.offset + part.rank * (self.inputs + outputs)
    }

    /// By what the rows of a changed weight are multiplied, `[1, outputs]`.
    fn factors(&self, flat: &Tensor, part: Part, outputs: usize) -> Result<Option<Tensor>> {
        let factors = || flat.narrow(0, self.place_of_factors(part, outputs), outputs)?.unsqueeze(0);
        part.lengths.then(factors).transpose()
    }
}

/// Gradients at one changed layer.
struct ChangeGradients {
    /// Of its result.
    whole: Tensor,
    /// Of its result before the rows got their lengths.
    resized: Tensor,
    /// Of what lies between `A` and `B`.
    low: Tensor,
}

impl ChangeGradients {
    fn new(whole: Tensor, b: &Tensor, part: Part, factors: Option<Tensor>) -> Result<Self> {
        let resized = factors.map_or(Ok(whole.clone()), |factors| whole.broadcast_mul(&factors))?;
        let low = gemm::product(&resized, b, part.scale)?;
        Ok(Self { whole, resized, low })
    }
}

/// Squares of the lengths of the rows of the layer at `path`, `[outputs]`.
///
/// # Errors
/// If there is no such layer, or the device fails.
pub fn row_squares<'a>(
    projections: impl Iterator<Item = &'a Arc<Projection>>,
    path: &str,
) -> crate::base::error::Result<Tensor> {
    let linear = projections.flat_map(|projection| &projection.linears).find(|linear| linear.path == path);
    let linear = linear.ok_or_else(|| Error::internal(format!("there is no linear layer `{path}`")))?;
    Ok(linear.weight.to_dtype(DType::F32)?.sqr()?.sum(1)?)
}

/// A column: its product with a row is that row, again and again.
fn ones(rows: usize, device: &Device) -> Result<Tensor> {
    Tensor::ones((rows, 1), DType::F32, device)
}

/// What `f` makes of `x` after the part's dropout.
fn with_dropout<T>(x: &Tensor, part: Part, f: impl FnOnce(&Tensor) -> Result<T>) -> Result<T> {
    let Some(dropout) = part.dropout else { return f(x) };
    let dropped = dropout::apply(x, dropout)?;
    let result = f(&dropped)?;
    buffers::give_back(dropped)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::{
        base::error::Result,
        models::{
            adapters::SavedAdapter,
            test_models::{assert_close, assert_gradient, random},
        },
    };

    /// DoRA of the layer `k`.
    struct Resized(LowRank);

    impl Adapter for Resized {
        fn parameters(&self) -> Vec<(String, Var)> {
            Vec::new()
        }

        fn low_rank(&self, path: &str) -> Option<LowRank> {
            (path == "k").then(|| self.0.clone())
        }

        fn method(&self) -> &'static str {
            "test"
        }

        fn save(&self, _: &str) -> Result<SavedAdapter> {
            Err(Error::internal("not saved"))
        }
    }

    fn projection() -> Projection {
        let linear = |path: &str, outputs, seed| Linear {
            path: path.to_owned(),
            weight: random(&[outputs, 5], seed),
            bias: Some(random(&[outputs], seed + 1)),
        };
        Projection::new(vec![linear("q", 6, 1), linear("k", 4, 3), linear("v", 3, 5)]).unwrap()
    }

    fn resized(dropout: f64) -> Resized {
        let weight = &projection().linears[1].weight;
        let lengths = RowLengths { trained: random(&[4], 7), squares: weight.sqr().unwrap().sum(1).unwrap() };
        Resized(LowRank { a: random(&[2, 5], 8), b: random(&[4, 2], 9), scale: 0.7, dropout, lengths: Some(lengths) })
    }

    #[test]
    fn rows_get_the_lengths_that_are_trained() {
        let (projection, adapter) = (projection(), resized(0.0));
        let changes = projection.changes(&adapter, Mode::Eval).unwrap();
        let Resized(LowRank { a, b, scale, lengths, .. }) = &adapter;
        let linear = &projection.linears[1];
        let whole = (&linear.weight + (b.matmul(a).unwrap() * *scale).unwrap()).unwrap();
        let lengths = lengths.as_ref().unwrap();
        let factors = (&lengths.trained / whole.sqr().unwrap().sum(1).unwrap().sqrt().unwrap()).unwrap();
        let weight = whole.broadcast_mul(&factors.unsqueeze(1).unwrap()).unwrap();
        let (x, onto) = (random(&[7, 5], 11), random(&[7, 13], 12));
        let want = x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(linear.bias.as_ref().unwrap()).unwrap();
        let got = projection.forward(&x, &changes, None).unwrap();
        assert_close(&got.narrow(1, 6, 4).unwrap(), &want, 1e-5);
        let added = projection.forward(&x, &changes, Some(onto.copy().unwrap())).unwrap();
        assert_close(&added, &(got + onto).unwrap(), 1e-5);
    }

    #[test]
    fn gradients_equal_finite_differences_with_and_without_dropout() {
        let projection = projection();
        let mode = Mode::Train { seed: 1, pass: 2, gradient_checkpointing: false };
        for dropout in [0.0, 0.4] {
            let changes = projection.changes(&resized(dropout), mode).unwrap();
            let (x, weights) = (random(&[7, 5], 11), random(&[7, 13], 12));
            let loss = |x: &Tensor, flat: &Tensor| {
                let changes = Changes { flat: flat.clone(), parts: changes.parts.clone() };
                (projection.forward(x, &changes, None)? * &weights)?.sum_all()
            };
            let (dx, d_flat) = projection.backward(Some(&x), &changes, &weights).unwrap();
            let d_flat = d_flat.unwrap();
            assert_gradient(&x, &dx, |x| loss(x, &changes.flat));
            assert_gradient(&changes.flat, &d_flat, |flat| loss(&x, flat));
            let alone = projection.change_gradient(&x, &changes, &weights).unwrap();
            assert_close(&alone, &d_flat, 1e-6);
        }
    }
}
