//! Where a GGUF file keeps its tensors, and in which of ggml's types.

use candle_core::quantized::GgmlDType;

use crate::{
    base::{
        error::{At, Error, Result},
        gguf_header::{Header, Tensor},
    },
    models::weights::weight_file,
};

/// ggml's types that are read, by number.
const KINDS: [(u32, GgmlDType); 13] = [
    (0, GgmlDType::F32),
    (1, GgmlDType::F16),
    (2, GgmlDType::Q4_0),
    (3, GgmlDType::Q4_1),
    (6, GgmlDType::Q5_0),
    (7, GgmlDType::Q5_1),
    (8, GgmlDType::Q8_0),
    (10, GgmlDType::Q2K),
    (11, GgmlDType::Q3K),
    (12, GgmlDType::Q4K),
    (13, GgmlDType::Q5K),
    (14, GgmlDType::Q6K),
    (30, GgmlDType::BF16),
];

/// Each tensor is of a type that can be read, and lies inside the file, in a place of its own; `len` is the file's size in bytes.
///
/// # Errors
/// If one isn't.
pub fn check_places(header: &Header, len: u64) -> Result<()> {
    let mut places = Vec::with_capacity(header.tensors.len());
    for (name, tensor) in &header.tensors {
        let (_, bytes) = extent(tensor).at(format!("tensor `{name}`"))?;
        let end = tensor.at.checked_add(bytes as u64).filter(|end| *end <= len);
        let end = end.ok_or_else(|| damaged(format!("tensor `{name}` lies beyond its end, {len} bytes")))?;
        places.push((tensor.at, end, name));
    }
    places.sort_unstable();
    match places.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => Err(damaged(format!("tensors `{}` and `{}` lie one over the other", pair[0].2, pair[1].2))),
        None => Ok(()),
    }
}

/// How a tensor, `[..., columns]`, is stored, and in how many bytes.
///
/// # Errors
/// If the type isn't read, or the shape can't be stored in it.
pub fn extent(tensor: &Tensor) -> Result<(GgmlDType, usize)> {
    let Some((_, kind)) = KINDS.iter().find(|(number, _)| *number == tensor.kind) else {
        let known: Vec<_> = KINDS.iter().map(|(_, kind)| format!("{kind:?}")).collect();
        return Err(Error::input(format!("its numbers are of ggml's type {}, which isn't read", tensor.kind))
            .help(format!("choose a file with other types; these are read: {}", known.join(", "))));
    };
    let (block, size) = (kind.block_size(), kind.type_size());
    if tensor.shape.last().is_some_and(|columns| columns % block != 0) {
        return Err(damaged(format!("rows of {:?} in blocks of {block}", tensor.shape)));
    }
    let count = tensor.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let bytes = count.and_then(|n| (n / block).checked_mul(size));
    Ok((*kind, bytes.ok_or_else(|| damaged(format!("a tensor of shape {:?}", tensor.shape)))?))
}

fn damaged(e: impl std::fmt::Display) -> Error {
    weight_file::damaged("a whole GGUF file", e)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(tensors: &[(&str, u32, &[usize], u64)]) -> Header {
        let tensor = |(name, kind, shape, at): &(&str, u32, &[usize], u64)| {
            ((*name).to_owned(), Tensor { kind: *kind, shape: shape.to_vec(), at: *at })
        };
        Header { metadata: Default::default(), tensors: tensors.iter().map(tensor).collect() }
    }

    #[test]
    fn tensors_lie_inside_the_file_and_apart() {
        let fine = header(&[("a", 0, &[2, 4], 0), ("b", 2, &[2, 32], 32)]);
        check_places(&fine, 32 + 2 * 18).unwrap();
        for (tensors, len, part) in [
            (header(&[("a", 0, &[2, 4], 8)]), 32, "`a` lies beyond its end"),
            (header(&[("a", 0, &[2, 4], u64::MAX)]), 32, "`a` lies beyond its end"),
            (header(&[("a", 0, &[usize::MAX, 4], 0)]), 32, "a tensor of shape"),
            (header(&[("a", 0, &[2, 4], 0), ("b", 0, &[1], 28)]), 64, "`a` and `b` lie one over the other"),
            (header(&[("a", 2, &[32, 2], 0)]), 64, "blocks of 32"),
            (header(&[("a", 16, &[256], 0)]), 4096, "tensor `a`: its numbers are of ggml's type 16"),
        ] {
            let e = check_places(&tensors, len).unwrap_err();
            assert!(e.message.contains(part) && e.help.is_some(), "{e}");
        }
    }
}
