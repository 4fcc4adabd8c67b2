//! The plain path of encoders.

use candle_core::{D, DType, Result as Candle, Tensor};

use super::{linears, plain};
use crate::{
    base::error::Result,
    models::{
        adapters::Adapter,
        encoder::{Encoder, Norm},
    },
};

/// What a classification head reads of each sample of a batch padded on the right: `[batch, hidden]`; without dropout.
/// `ids` and `mask` (1 for tokens, 0 for padding) are `[batch, seq]`.
///
/// # Errors
/// As [`super::logits`].
pub fn pooled_output(model: &Encoder, adapter: &dyn Adapter, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let (rows, seq) = ids.dims2()?;
    let dims = model.dims;
    let prefixes = adapter.prefix()?;
    let virtual_tokens = prefixes.as_ref().map_or(Ok(0), |p| p[0].dim(1))?;
    let words = plain(&model.words.index_select(&ids.flatten_all()?, 0)?)?.reshape((rows, seq, ()))?;
    let mut x = norm(&words.broadcast_add(&model.positions.narrow(0, virtual_tokens, seq)?)?, &model.layers[0].norm)?;
    let hidden = ((plain(mask)? - 1.0)? * 1e30)?.reshape((rows, 1, 1, seq))?;
    let shown = Tensor::zeros((rows, 1, 1, virtual_tokens), DType::F32, ids.device())?;
    let mask = Tensor::cat(&[&shown, &hidden], 3)?;
    for (i, layer) in model.layers.iter().enumerate() {
        let qkv = linears(&x, &layer.qkv, adapter)?;
        let part = |from: usize| -> Candle<Tensor> {
            qkv.narrow(2, from * dims.hidden, dims.hidden)?
                .reshape((rows, seq, dims.heads, dims.head_dim))?
                .transpose(1, 2)?
                .contiguous()
        };
        let (q, mut k, mut v) = (part(0)?, part(1)?, part(2)?);
        if let Some(prefixes) = &prefixes {
            let before = |part: usize, own: &Tensor| -> Candle<Tensor> {
                let t = prefixes[i].narrow(0, part, 1)?.reshape((virtual_tokens, dims.heads, dims.head_dim))?;
                let t = t.transpose(0, 1)?.unsqueeze(0)?.expand((rows, dims.heads, virtual_tokens, dims.head_dim))?;
                Tensor::cat(&[&t.contiguous()?, own], 2)
            };
            k = before(0, &k)?;
            v = before(1, &v)?;
        }
        let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / (dims.head_dim as f64).sqrt())?;
        let p = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, D::Minus1)?;
        let attn_output = p.matmul(&v)?.transpose(1, 2)?.contiguous()?.flatten_from(2)?;
        x = norm(&(x + linears(&attn_output, &layer.output, adapter)?)?, &layer.mlp_norm)?;
        let inner = linears(&x, &layer.up, adapter)?.gelu_erf()?;
        let end = model.layers.get(i + 1).map_or(&model.norm, |next| &next.norm);
        x = norm(&(x + linears(&inner, &layer.down, adapter)?)?, end)?;
    }
    let first = x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
    Ok(linears(&first, &model.pooler, adapter)?.tanh()?)
}

fn norm(x: &Tensor, norm: &Norm) -> Candle<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + norm.eps)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(&norm.weight)?.broadcast_add(&norm.bias)
}
