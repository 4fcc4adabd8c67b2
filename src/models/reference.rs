//! The plain path: padded batches and candle's own differentiable ops, as the reference implementations compute.
//!
//! It shares nothing with the fast path but the weights, and is there to test it.

pub mod reference_encoder;

use candle_core::{D, DType, Result as Candle, Tensor};

use super::{
    adapters::Adapter,
    decoder::{Decoder, Norm},
    linear::Projection,
    ops::rotary::{Pairs, Rotary},
};
use crate::base::error::Result;

/// A padded batch; every tensor is `[batch, seq]`.
pub struct Batch<'a> {
    pub ids: &'a Tensor,
    /// 1 for tokens, 0 for padding.
    pub mask: &'a Tensor,
    pub positions: &'a Tensor,
}

/// Logits of every token, `[batch, seq, vocab]`; without dropout. Those of padding mean nothing.
///
/// # Errors
/// If the tensors' shapes don't fit, or the adapter doesn't.
pub fn logits(model: &Decoder, adapter: &dyn Adapter, batch: &Batch) -> Result<Tensor> {
    let prefixes = adapter.prefix()?;
    let (rows, seq) = batch.ids.dims2()?;
    let mut x = plain(&model.embedding.index_select(&batch.ids.flatten_all()?, 0)?)?.reshape((rows, seq, ()))?;
    let (mut padding, mut positions) = (batch.mask.clone(), batch.positions.to_dtype(DType::F32)?);
    let prompt = adapter.soft_prompt()?;
    let places = prompt.as_ref().map_or(Ok(0), |prompt| prompt.dim(0))?;
    if let Some(prompt) = &prompt {
        // Before the padding, where it is the same for all rows.
        let counted = Tensor::arange(0f32, places as f32, x.device())?.unsqueeze(0)?.expand((rows, places))?;
        x = Tensor::cat(&[&prompt.unsqueeze(0)?.expand((rows, places, x.dim(2)?))?, &x], 1)?;
        padding = Tensor::cat(&[&Tensor::ones((rows, places), padding.dtype(), x.device())?, &padding], 1)?;
        positions = Tensor::cat(&[&counted, &(positions + places as f64)?], 1)?;
    }
    let seq = seq + places;
    let virtual_tokens = match &prefixes {
        Some(p) => p[0].dim(1)?,
        None => 0,
    };
    let mask = mask(&padding, virtual_tokens)?;
    let dims = model.dims;
    for (i, layer) in model.layers.iter().enumerate() {
        let normed = norm(&x, &layer.attention_norm)?;
        let qkv = linears(&normed, &layer.qkv, adapter)?;
        let part = |from: usize, heads: usize| -> Candle<Tensor> {
            qkv.narrow(2, from * dims.head_dim, heads * dims.head_dim)?
                .reshape((rows, seq, heads, dims.head_dim))?
                .transpose(1, 2)
        };
        let q = rotate(&part(0, dims.heads)?, &positions, model.rotary)?;
        let mut k = rotate(&part(dims.heads, dims.kv_heads)?, &positions, model.rotary)?;
        let mut v = part(dims.heads + dims.kv_heads, dims.kv_heads)?;
        if let Some(prefixes) = &prefixes {
            let before = |part: usize, own: &Tensor| -> Candle<Tensor> {
                let t = prefixes[i].narrow(0, part, 1)?.reshape((virtual_tokens, dims.kv_heads, dims.head_dim))?;
                let t = t.transpose(0, 1)?.unsqueeze(0)?;
                let t = t.expand((rows, dims.kv_heads, virtual_tokens, dims.head_dim))?;
                Tensor::cat(&[&t.contiguous()?, &own.contiguous()?], 2)
            };
            k = before(0, &k)?;
            v = before(1, &v)?;
        }
        let repeat = |t: &Tensor| -> Candle<Tensor> {
            let (b, heads, n, dim) = t.dims4()?;
            let group = dims.heads / dims.kv_heads;
            t.unsqueeze(2)?.expand((b, heads, group, n, dim))?.contiguous()?.reshape((b, heads * group, n, dim))
        };
        let scores = q.contiguous()?.matmul(&repeat(&k)?.transpose(2, 3)?.contiguous()?)?;
        let p = candle_nn::ops::softmax(&(scores / (dims.head_dim as f64).sqrt())?.broadcast_add(&mask)?, D::Minus1)?;
        let attn_output = p.matmul(&repeat(&v)?)?.transpose(1, 2)?.contiguous()?.flatten_from(2)?;
        x = (x + linears(&attn_output, &layer.output, adapter)?)?;
        let gate_up = linears(&norm(&x, &layer.mlp_norm)?, &layer.gate_up, adapter)?;
        let width = gate_up.dim(2)? / 2;
        let active = (gate_up.narrow(2, 0, width)?.silu()? * gate_up.narrow(2, width, width)?)?;
        x = (x + linears(&active, &layer.down, adapter)?)?;
    }
    let x = x.narrow(1, places, seq - places)?;
    Ok(norm(&x, &model.norm)?.broadcast_matmul(&plain(&model.head)?.t()?)?)
}

/// `[batch, 1, seq, virtual_tokens + seq]`: 0 where a token may look, very negative elsewhere.
fn mask(mask: &Tensor, virtual_tokens: usize) -> Candle<Tensor> {
    let (rows, seq) = mask.dims2()?;
    let real = mask.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let mut out = Vec::with_capacity(rows * seq * (virtual_tokens + seq));
    for real in &real {
        for i in 0..seq {
            out.extend(std::iter::repeat_n(0f32, virtual_tokens));
            out.extend((0..seq).map(|j| if j <= i && real[j] > 0.0 { 0.0 } else { -1e30 }));
        }
    }
    Tensor::from_vec(out, (rows, 1, seq, virtual_tokens + seq), mask.device())
}

/// A weight in f32, whatever the model keeps it in.
fn plain(weight: &Tensor) -> Candle<Tensor> {
    weight.to_dtype(DType::F32)
}

fn norm(x: &Tensor, norm: &Norm) -> Candle<Tensor> {
    let mean = (x.sqr()?.mean_keepdim(D::Minus1)? + norm.eps)?;
    x.broadcast_div(&mean.sqrt()?)?.broadcast_mul(&norm.weight)
}

fn linears(x: &Tensor, projection: &Projection, adapter: &dyn Adapter) -> Candle<Tensor> {
    let mut out = Vec::new();
    for linear in &projection.linears {
        let weight = plain(&linear.weight)?;
        let mut y = x.broadcast_matmul(&weight.t()?)?;
        if let Some(low) = adapter.low_rank(&linear.path) {
            let change = x.broadcast_matmul(&low.a.t()?)?.broadcast_matmul(&low.b.t()?)?;
            y = (y + (change * low.scale)?)?;
            if let Some(lengths) = &low.lengths {
                let changed = (weight + (low.b.detach().matmul(&low.a.detach())? * low.scale)?)?;
                y = y.broadcast_mul(&(&lengths.trained / changed.sqr()?.sum(1)?.sqrt()?)?)?;
            }
        }
        if let Some(bias) = &linear.bias {
            y = y.broadcast_add(bias)?;
        }
        out.push(y);
    }
    Tensor::cat(&out, D::Minus1)
}

/// `x` `[batch, heads, seq, head_dim]`, with the first numbers of each head turned.
fn rotate(x: &Tensor, positions: &Tensor, rotary: Rotary) -> Candle<Tensor> {
    let Rotary { pairs, dim, theta } = rotary;
    let half = dim / 2;
    let frequencies: Vec<f32> = (0..half).map(|i| theta.powf(-2.0 * i as f64 / dim as f64) as f32).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, 1, 1, half), x.device())?;
    let angles = positions.to_dtype(DType::F32)?.unsqueeze(1)?.unsqueeze(3)?.broadcast_mul(&frequencies)?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    let turned = x.narrow(D::Minus1, 0, dim)?;
    let (batch, heads, seq, _) = x.dims4()?;
    // The two numbers of each pair, `[batch, heads, seq, half]`.
    let (a, b) = match pairs {
        Pairs::Halves => (turned.narrow(D::Minus1, 0, half)?, turned.narrow(D::Minus1, half, half)?),
        Pairs::Interleaved => {
            let pairs = turned.reshape((batch, heads, seq, half, 2))?;
            (pairs.narrow(4, 0, 1)?.squeeze(4)?, pairs.narrow(4, 1, 1)?.squeeze(4)?)
        }
    };
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let turned = match pairs {
        Pairs::Halves => Tensor::cat(&[first, second], D::Minus1)?,
        Pairs::Interleaved => Tensor::stack(&[first, second], 4)?.flatten_from(3)?,
    };
    let rest = x.dim(D::Minus1)? - dim;
    if rest == 0 { Ok(turned) } else { Tensor::cat(&[&turned, &x.narrow(D::Minus1, dim, rest)?], D::Minus1) }
}
