//! What a pickle of weights describes, and the few names that it may use for that.

use std::rc::Rc;

use crate::{
    base::error::{Error, Result},
    models::weights::number_format::Number,
};

/// A tensor as the pickle describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub storage: Rc<Storage>,
    /// In numbers, as the strides.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// A run of numbers that lies in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    pub key: String,
    pub number: Number,
    /// In numbers.
    pub len: usize,
}

/// Place of a value in the arena.
pub type Id = usize;

#[derive(Debug, Clone)]
pub enum Node {
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    /// Shared: many tensors may lie in one.
    Storage(Rc<Storage>),
    Tensor(Rc<Described>),
    False,
    /// None, true, floats: nothing that a tensor's description looks at.
    Other,
}

/// The names that a pickle may use.
#[derive(Debug, Clone, Copy)]
pub enum Name {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Number),
}

/// What `module.name` stands for.
///
/// # Errors
/// If weights don't need it.
pub fn name(module: &str, name: &str) -> Result<Name> {
    let other = |what, bytes| Ok(Name::Storage(Number::Other(what, bytes)));
    match (module, name) {
        ("collections", "OrderedDict") => Ok(Name::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Ok(Name::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Ok(Name::RebuildParameter),
        ("torch", "FloatStorage") => Ok(Name::Storage(Number::F32)),
        ("torch", "HalfStorage") => Ok(Name::Storage(Number::F16)),
        ("torch", "BFloat16Storage") => Ok(Name::Storage(Number::Bf16)),
        ("torch", "DoubleStorage") => other("float64", 8),
        ("torch", "LongStorage") => other("int64", 8),
        ("torch", "IntStorage") => other("int32", 4),
        ("torch", "ShortStorage") => other("int16", 2),
        ("torch", "CharStorage") => other("int8", 1),
        ("torch", "ByteStorage") => other("uint8", 1),
        ("torch", "BoolStorage") => other("bool", 1),
        _ => Err(Error::input(format!(
            "it asks for `{module}.{name}`, which weights don't need: refused, and nothing was executed"
        ))
        .help("don't trust this file: weights come from their publisher, best as .safetensors")),
    }
}
