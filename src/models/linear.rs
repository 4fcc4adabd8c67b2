//! Frozen linear layers with an optional low-rank change.

use candle_core::{DType, Device, Result, Tensor};

use super::{
    adapters::Adapter,
    backbone::{Mode, Module},
    ops::{
        add::add_in_place,
        buffers,
        dropout::{self, Dropout},
        gemm,
    },
    seeded,
};

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
    /// nothing is changed.
    pub flat: Tensor,
    parts: Vec<Option<Part>>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    /// Where `A` begins in `flat`; `B` follows.
    offset: usize,
    rank: usize,
    scale: f64,
    dropout: Option<Dropout>,
}

impl Changes {
    /// The flat tensors of several projections as one. `[numbers]`.
    pub fn join<const N: usize>(changes: &[Self; N]) -> Result<Tensor> {
        Tensor::cat(&changes.each_ref().map(|c| &c.flat), 0)
    }

    /// Gradients of [`Changes::join`]'s result from those of its parts, where a missing one is zero.
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
    pub fn modules(&self) -> Result<Vec<Module>> {
        self.linears
            .iter()
            .map(|l| Ok(Module { path: l.path.clone(), inputs: self.inputs, outputs: l.outputs()? }))
            .collect()
    }

    /// What `adapter` changes in these layers.
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
                    let part = Part { offset, rank: low.a.dim(0)?, scale: low.scale, dropout };
                    offset += low.a.elem_count() + low.b.elem_count();
                    flat.extend([low.a.flatten_all()?, low.b.flatten_all()?]);
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

    /// From the gradient of the result: that of what [`Projection::forward`] read, and where `read` is that, the gradient of
    /// `changes.flat`.
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
            if i == 0 {
                gemm::set(&dx, &g, &linear.weight, 1.0)?
            } else {
                gemm::add(&dx, &g, &linear.weight, 1.0)?
            }
            let Some(part) = part else { continue };
            let (a, b) = self.matrices(&flat, part, width)?;
            let d_low = gemm::product(&g, &b, part.scale)?;
            match part.dropout {
                None => gemm::add(&dx, &d_low, &a, 1.0)?,
                Some(_) => {
                    let d_dropped = gemm::product(&d_low, &a, 1.0)?;
                    with_dropout(&d_dropped, part, |d_x| add_in_place(&dx, d_x))?;
                    buffers::give_back(d_dropped)?;
                }
            }
            if let Some((x, d_flat)) = read.zip(d_flat.as_ref()) {
                self.change_part(x, (&a, part), &g, &d_low, self.matrices(d_flat, part, width)?)?;
            }
        }
        Ok((dx, d_flat))
    }

    /// The second of [`Projection::backward`]'s gradients alone.
    pub fn change_gradient(&self, x: &Tensor, changes: &Changes, grad: &Tensor) -> Result<Tensor> {
        let flat = changes.flat.detach();
        let d_flat = flat.zeros_like()?;
        for (_, part, from, width) in self.each(&changes.parts)? {
            let Some(part) = part else { continue };
            let g = grad.narrow(1, from, width)?;
            let (a, b) = self.matrices(&flat, part, width)?;
            let d_low = gemm::product(&g, &b, part.scale)?;
            self.change_part(x, (&a, part), &g, &d_low, self.matrices(&d_flat, part, width)?)?;
        }
        Ok(d_flat)
    }

    /// Gradients of one layer's matrices `a` and `b`, written into `d_a` and `d_b`; `d_low` is that of what lies between
    /// them.
    fn change_part(
        &self,
        x: &Tensor,
        (a, part): (&Tensor, Part),
        g: &Tensor,
        d_low: &Tensor,
        (d_a, d_b): (Tensor, Tensor),
    ) -> Result<()> {
        with_dropout(x, part, |x| {
            gemm::set(&d_b, &g.t()?, &gemm::product(x, &a.t()?, 1.0)?, part.scale)?;
            gemm::set(&d_a, &d_low.t()?, x, 1.0)
        })
    }
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
