//! The entries of an uncompressed zip archive, as PyTorch writes them.

use std::{collections::BTreeMap, io::BufReader};

use zip::{CompressionMethod, ZipArchive};

use crate::{
    base::error::{Error, Result},
    models::weights::weight_file::{WeightFile, damaged},
};

/// The format, for messages.
pub const WHAT: &str = "a whole PyTorch file";

/// Far above what describes the tensors of any file.
const LARGEST_PICKLE: u64 = 32 << 20;

/// An entry's place in the file, in bytes.
pub struct Entry {
    pub start: u64,
    pub size: u64,
}

/// Every entry of the archive, by name.
///
/// # Errors
/// If the archive is damaged, or has an entry that can't be read in place.
pub fn entries(file: &WeightFile) -> Result<BTreeMap<String, Entry>> {
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

/// The content of an entry.
///
/// # Errors
/// If it is too large for a description.
pub fn bytes(file: &WeightFile, entry: &Entry) -> Result<Vec<u8>> {
    if entry.size > LARGEST_PICKLE {
        return Err(damaged(WHAT, format!("a description of {} bytes", entry.size)));
    }
    file.read(entry.start, entry.size as usize).map_err(|e| damaged(WHAT, e))
}
