//! PyTorch's files (`torch.save` since 1.6): a zip archive, uncompressed, with a pickle that describes the tensors and one
//! entry for each storage.

mod pickle;
mod pickle_calls;
mod pickle_op;
mod pickle_stack;
mod pickle_steps;
mod pickle_value;
mod zip_entries;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use self::{
    pickle_value::Described,
    zip_entries::{Entry, WHAT, bytes, entries},
};
use super::{
    model_files::{Files, base},
    shard_choice,
    shards::Shards,
    stored::{Stored, extent},
    weight_file::{WeightFile, damaged},
    weight_format::{ChosenFiles, OpenedWeights, WeightFormat},
};
use crate::base::error::{At, Error, Result};

/// `pytorch_model*.bin`, one file or several with an index.
pub struct Torch;

impl WeightFormat for Torch {
    fn has(&self, name: &str) -> bool {
        base(name).starts_with("pytorch_model") && name.ends_with(".bin")
    }

    fn choose(&self, files: &Files) -> Result<Option<ChosenFiles>> {
        shard_choice::choose(files, ".bin.index.json", |name| self.has(name))
    }

    fn open(&self, chosen: ChosenFiles) -> Result<OpenedWeights> {
        Ok(OpenedWeights { tensors: Box::new(Shards::open(chosen, list)?), config: None })
    }
}

/// The tensors of one file, by name.
fn list(name: &str, path: &Path) -> Result<BTreeMap<String, Stored>> {
    read(&WeightFile::open(name, path)?).at(name)
}

fn read(file: &Arc<WeightFile>) -> Result<BTreeMap<String, Stored>> {
    if file.read(0, 2).is_ok_and(|start| start != b"PK") {
        return Err(Error::input("not a zip archive, which PyTorch's files are since version 1.6").help(
            "the file is damaged, or of the old format: if you trust its publisher, load it in PyTorch (with \
             `weights_only=True`) and save it again, best as .safetensors",
        ));
    }
    let entries = entries(file)?;
    let pickles = entries.iter().filter_map(|(name, entry)| {
        Some((name.strip_suffix("data.pkl").filter(|folder| folder.matches('/').count() == 1)?, entry))
    });
    let (folder, pickled) = match pickles.collect::<Vec<_>>()[..] {
        [one] => one,
        [] => return Err(Error::input("the archive has no data.pkl").help("PyTorch didn't write this file")),
        _ => return Err(Error::input("the archive has several data.pkl").help("PyTorch didn't write this file")),
    };
    if let Some(order) = entries.get(&format!("{folder}byteorder"))
        && bytes(file, order)? != b"little"
    {
        return Err(Error::input("its numbers aren't little-endian").help("save it again on a little-endian machine"));
    }
    let described = pickle::tensors(&bytes(file, pickled)?)?;
    let place = |(name, tensor): (String, Described)| {
        let stored = place(file, &entries, folder, tensor).at(format!("tensor `{name}`"))?;
        Ok((name, stored))
    };
    described.into_iter().map(place).collect()
}

/// Where a tensor's numbers lie, all of them inside its storage.
fn place(file: &Arc<WeightFile>, entries: &BTreeMap<String, Entry>, folder: &str, tensor: Described) -> Result<Stored> {
    let Described { storage, offset, shape, strides } = tensor;
    let entry = entries
        .get(&format!("{folder}data/{}", storage.key))
        .ok_or_else(|| damaged(WHAT, format!("there is no storage `{}`", storage.key)))?;
    let size = storage.number.bytes();
    if storage.len.checked_mul(size).is_none_or(|len| len as u64 != entry.size) {
        return Err(damaged(WHAT, format!("a storage of {} bytes for {} numbers", entry.size, storage.len)));
    }
    let end = extent(&shape, &strides).and_then(|extent| extent.checked_add(offset));
    // A view may repeat numbers; weights don't, and their size is bounded by the file's.
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    if [end, count].iter().any(|n| n.is_none_or(|n| n > storage.len)) {
        return Err(damaged(WHAT, format!("shape {shape:?} at {offset} in a storage of {} numbers", storage.len)));
    }
    let at = entry.start + (offset * size) as u64;
    Ok(Stored { file: file.clone(), number: storage.number, shape, strides, at })
}
