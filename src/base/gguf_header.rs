//! The header of a GGUF file: its metadata, and what tensors it has.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

pub use candle_core::quantized::gguf_file::Value;

use super::error::{Error, IoAt, Result};

/// What a file says before its numbers.
#[derive(Debug)]
pub struct Header {
    pub metadata: HashMap<String, Value>,
    pub tensors: BTreeMap<String, Tensor>,
}

/// A tensor as the header describes it; nobody has looked whether its numbers are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Number of ggml's type.
    pub kind: u32,
    /// Rows first, as everywhere else in this program.
    pub shape: Vec<usize>,
    /// Where its first byte lies in the file.
    pub at: u64,
}

/// Bytes of memory that a header may take. The largest vocabularies take a quarter.
const ROOM: usize = 256 << 20;

/// As many as ggml's tensors have.
const MOST_DIMENSIONS: usize = 4;

const DEFAULT_ALIGNMENT: u64 = 32;

impl Header {
    /// # Errors
    /// If the file isn't a GGUF file of version 1 to 3, is cut short inside the header, says something twice, or needs more
    /// memory than any real one.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).io_at("open", path)?;
        let len = file.metadata().io_at("read", path)?.len();
        Self::parse(BufReader::new(file), len)
    }

    /// `len` is how many bytes `from` has.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn parse(from: impl Read, len: u64) -> Result<Self> {
        let mut reader = Reader { from, at: 0, len, room: ROOM, narrow: false };
        reader.version()?;
        let (tensors, keys) = (reader.length()?, reader.length()?);
        let mut metadata = HashMap::new();
        for _ in 0..keys {
            let key = reader.name()?;
            let kind = reader.u32()?;
            let value = reader.value(kind, &key)?;
            if metadata.contains_key(&key) {
                return Err(damaged(format!("its key `{key}` is there twice")));
            }
            metadata.insert(key, value);
        }
        let mut described = BTreeMap::new();
        for _ in 0..tensors {
            let name = reader.name()?;
            let tensor = reader.tensor(&name)?;
            if described.contains_key(&name) {
                return Err(damaged(format!("tensor `{name}` is there twice")));
            }
            described.insert(name, tensor);
        }
        let alignment = alignment(&metadata)?;
        let start = reader.at.checked_next_multiple_of(alignment);
        for (name, tensor) in &mut described {
            let at = start.and_then(|start| start.checked_add(tensor.at));
            tensor.at = match at {
                Some(at) if tensor.at % alignment == 0 => at,
                _ => return Err(damaged(format!("tensor `{name}` doesn't lie at a multiple of {alignment} bytes"))),
            };
        }
        Ok(Self { metadata, tensors: described })
    }
}

fn alignment(metadata: &HashMap<String, Value>) -> Result<u64> {
    let key = "general.alignment";
    let Some(value) = metadata.get(key) else { return Ok(DEFAULT_ALIGNMENT) };
    match whole(value).and_then(|n| u64::try_from(n).ok()).filter(|n| n.is_power_of_two()) {
        Some(alignment) => Ok(alignment),
        None => Err(damaged(format!("its `{key}` is {value:?}, which isn't a power of two"))),
    }
}

/// The value of a whole number of any width.
pub fn whole(value: &Value) -> Option<i128> {
    Some(match value {
        Value::U8(n) => i128::from(*n),
        Value::I8(n) => i128::from(*n),
        Value::U16(n) => i128::from(*n),
        Value::I16(n) => i128::from(*n),
        Value::U32(n) => i128::from(*n),
        Value::I32(n) => i128::from(*n),
        Value::U64(n) => i128::from(*n),
        Value::I64(n) => i128::from(*n),
        _ => return None,
    })
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::input(format!("not a readable GGUF file ({what})"))
        .help("the file is damaged or cut short: fetch it again, and compare it with its publisher's hash")
}

/// Reads numbers in their order, and keeps account of what is left of the file and of the room in memory.
struct Reader<R> {
    from: R,
    /// Bytes that were read.
    at: u64,
    /// Bytes of the file.
    len: u64,
    /// Bytes of memory that may still be taken.
    room: usize,
    /// Lengths have four bytes, as in version 1.
    narrow: bool,
}

impl<R: Read> Reader<R> {
    /// `len` bytes that lie in memory from now on.
    fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > self.len.saturating_sub(self.at) {
            return Err(damaged("it ends in the middle"));
        }
        let count = usize::try_from(len).map_err(|_| too_large())?;
        self.spend(count)?;
        let mut bytes = vec![0; count];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.from.read_exact(bytes).map_err(|_| damaged("it ends in the middle"))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.room = self.room.checked_sub(bytes).ok_or_else(too_large)?;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        self.fill(&mut array)?;
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn length(&mut self) -> Result<u64> {
        if self.narrow { Ok(self.u32()?.into()) } else { self.u64() }
    }

    fn version(&mut self) -> Result<()> {
        if &self.array()? != b"GGUF" {
            return Err(damaged("it doesn't begin with `GGUF`"));
        }
        match self.u32()? {
            1 => self.narrow = true,
            2 | 3 => (),
            n if n.swap_bytes() <= 3 => {
                return Err(damaged("its numbers are big-endian; only little-endian files are read"));
            }
            n => return Err(damaged(format!("version {n}; 1 to 3 are read"))),
        }
        Ok(())
    }

    /// The name of a key or tensor, which something stands under.
    fn name(&mut self) -> Result<String> {
        // Beside its letters: the place in a map.
        self.spend(128)?;
        let len = self.length()?;
        String::from_utf8(self.bytes(len)?).map_err(|_| damaged("a name isn't UTF-8"))
    }

    /// Texts for people are broken off anywhere in some files; a token may not be.
    fn text(&mut self, key: &str) -> Result<String> {
        let len = self.length()?;
        let mut bytes = self.bytes(len)?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(e) if key.starts_with("general.") => Ok(String::from_utf8_lossy(e.as_bytes()).into_owned()),
            Err(_) => Err(damaged(format!("a text of `{key}` isn't UTF-8"))),
        }
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Value> {
        self.spend(size_of::<Value>())?;
        Ok(match kind {
            0 => Value::U8(u8::from_le_bytes(self.array()?)),
            1 => Value::I8(i8::from_le_bytes(self.array()?)),
            2 => Value::U16(u16::from_le_bytes(self.array()?)),
            3 => Value::I16(i16::from_le_bytes(self.array()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.array()?)),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => match self.array()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return Err(damaged(format!("`{key}` is {other} where true or false belongs"))),
            },
            8 => Value::String(self.text(key)?),
            9 => Value::Array(self.items(key)?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.array()?)),
            12 => Value::F64(f64::from_le_bytes(self.array()?)),
            other => return Err(damaged(format!("`{key}` has a value of the unknown type {other}"))),
        })
    }

    fn items(&mut self, key: &str) -> Result<Vec<Value>> {
        const ARRAY: u32 = 9;
        let kind = self.u32()?;
        if kind == ARRAY {
            return Err(damaged(format!("`{key}` is a list of lists")));
        }
        let len = self.length()?;
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(self.value(kind, key)?);
        }
        Ok(items)
    }

    /// Its place is still counted from the first tensor's.
    fn tensor(&mut self, name: &str) -> Result<Tensor> {
        let dimensions = self.u32()? as usize;
        if dimensions > MOST_DIMENSIONS {
            return Err(damaged(format!("tensor `{name}` has {dimensions} dimensions")));
        }
        let mut shape = Vec::with_capacity(dimensions);
        for _ in 0..dimensions {
            shape.push(usize::try_from(self.length()?).map_err(|_| too_large())?);
        }
        shape.reverse();
        Ok(Tensor { shape, kind: self.u32()?, at: self.u64()? })
    }
}

fn too_large() -> Error {
    damaged(format!("its header takes more than {} MiB", ROOM >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    /// A file without tensors' numbers: version, keys with type and value, tensors.
    fn file(keys: &[(&str, u32, Vec<u8>)], tensors: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = [b"GGUF".as_slice(), &3u32.to_le_bytes()].concat();
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend((keys.len() as u64).to_le_bytes());
        for (key, kind, value) in keys {
            bytes.extend([text(key), kind.to_le_bytes().to_vec(), value.clone()].concat());
        }
        bytes.extend(tensors.concat());
        bytes
    }

    fn tensor(name: &str, at: u64) -> Vec<u8> {
        let dims = [3u64, 2].map(u64::to_le_bytes).concat();
        [text(name), 2u32.to_le_bytes().to_vec(), dims, 0u32.to_le_bytes().to_vec(), at.to_le_bytes().to_vec()].concat()
    }

    fn parse(bytes: &[u8]) -> Result<Header> {
        Header::parse(bytes, bytes.len() as u64)
    }

    #[track_caller]
    fn refused(bytes: &[u8], part: &str) {
        let e = parse(bytes).unwrap_err();
        assert!(e.message.contains(part) && e.help.is_some(), "{e}");
    }

    fn alignment(n: u32) -> (&'static str, u32, Vec<u8>) {
        ("general.alignment", 4, n.to_le_bytes().to_vec())
    }

    #[test]
    fn reads_keys_and_tensors() {
        let list = [8u32.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec(), text("a"), text("b\0")].concat();
        let bytes = file(&[alignment(64), ("x.list", 9, list)], &[tensor("w", 64)]);
        let header = parse(&bytes).unwrap();
        let Value::Array(items) = &header.metadata["x.list"] else { panic!("no list") };
        assert!(matches!(&items[..], [Value::String(a), Value::String(b)] if a == "a" && b == "b"));
        let at = bytes.len().next_multiple_of(64) as u64 + 64;
        assert_eq!(header.tensors["w"], Tensor { kind: 0, shape: vec![2, 3], at });
    }

    #[test]
    fn alignments_that_are_no_power_of_two_are_refused() {
        for n in [0, 3, 48] {
            refused(&file(&[alignment(n)], &[tensor("w", 0)]), "general.alignment");
        }
        refused(&file(&[("general.alignment", 5, (-32i32).to_le_bytes().to_vec())], &[]), "general.alignment");
        refused(&file(&[("general.alignment", 8, text("32"))], &[]), "general.alignment");
        refused(&file(&[], &[tensor("w", 16)]), "multiple of 32");
    }

    #[test]
    fn what_is_there_twice_is_refused() {
        refused(&file(&[alignment(32), alignment(64)], &[]), "`general.alignment` is there twice");
        refused(&file(&[], &[tensor("w", 0), tensor("w", 32)]), "`w` is there twice");
    }

    #[test]
    fn false_lengths_cost_no_memory() {
        let endless = [0u32.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()].concat();
        refused(&file(&[("x", 9, endless)], &[]), "ends in the middle");
        refused(&file(&[("x", 8, u64::MAX.to_le_bytes().to_vec())], &[]), "ends in the middle");
        let nested = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat();
        refused(&file(&[("x", 9, nested)], &[]), "list of lists");
        // One byte in the file, and a whole value in memory.
        let count = (ROOM / size_of::<Value>()) as u64 + 1;
        let bytes = [0u32.to_le_bytes().to_vec(), count.to_le_bytes().to_vec(), vec![0; count as usize]].concat();
        refused(&file(&[("x", 9, bytes)], &[]), "more than 256 MiB");
    }

    #[test]
    fn other_versions_and_byte_orders_are_named() {
        refused(b"GGUF\x04\0\0\0", "version 4");
        refused(b"GGUF\0\0\0\x03", "big-endian");
        refused(b"GGML\x03\0\0\0", "doesn't begin");
        refused(b"", "ends in the middle");
    }
}
