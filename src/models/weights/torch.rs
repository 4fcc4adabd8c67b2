//! PyTorch's files (`torch.save` since 1.6): a zip archive, uncompressed, with a pickle that describes the tensors and one
//! entry for each storage.

use std::{collections::BTreeMap, io::BufReader, path::Path, sync::Arc};

use zip::{CompressionMethod, ZipArchive};

use super::{
    pickle::{self, Described},
    stored::{Stored, WeightFile, damaged, extent},
};
use crate::base::error::{At, Error, Result};

const WHAT: &str = "a whole PyTorch file";

/// Far above what describes the tensors of any file.
const LARGEST_PICKLE: u64 = 32 << 20;

/// An entry's place in the file.
struct Entry {
    start: u64,
    size: u64,
}

/// The tensors of one file, by name.
pub fn list(name: &str, path: &Path) -> Result<BTreeMap<String, Stored>> {
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

/// Every entry of the archive, by name.
fn entries(file: &WeightFile) -> Result<BTreeMap<String, Entry>> {
    let mut archive = ZipArchive::new(BufReader::new(file.reader())).map_err(|e| damaged(WHAT, e))?;
    if archive.has_duplicate_names() {
        return Err(damaged(WHAT, "an entry of the archive is there twice"));
    }
    let mut entries = BTreeMap::new();
    for i in 0..archive.len() {
        let name = match archive.name_for_index(i) {
            Some(name) => name.map_err(|e| damaged(WHAT, e))?.into_owned(),
            None => continue,
        };
        let entry = archive.by_index_raw(i).map_err(|e| damaged(WHAT, e))?;
        let plain = entry.compression() == CompressionMethod::Stored && entry.size() == entry.compressed_size();
        if entry.encrypted() || !plain {
            return Err(Error::input(format!("its entry `{name}` is compressed or encrypted"))
                .help("PyTorch writes neither: fetch the file again, or save it again in PyTorch"));
        }
        let (start, size) = (entry.data_start().unwrap_or(u64::MAX), entry.size());
        if start.checked_add(size).is_none_or(|end| end > file.len) {
            return Err(damaged(WHAT, format!("its entry `{name}` lies beyond its end")));
        }
        entries.insert(name, Entry { start, size });
    }
    Ok(entries)
}

fn bytes(file: &WeightFile, entry: &Entry) -> Result<Vec<u8>> {
    if entry.size > LARGEST_PICKLE {
        return Err(damaged(WHAT, format!("a description of {} bytes", entry.size)));
    }
    file.read(entry.start, entry.size as usize).map_err(|e| damaged(WHAT, e))
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
