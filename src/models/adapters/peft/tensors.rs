//! The tensors of an `adapter_model.safetensors`. Whoever reads one takes it out; what is left in the end is refused.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::peft_files::WEIGHTS_FILE;
use crate::base::error::{At, Error, Result};

/// What nobody has read yet.
pub struct Tensors {
    left: BTreeMap<String, Tensor>,
    device: Device,
}

impl Tensors {
    /// `device` is where tensors are wanted.
    ///
    /// # Errors
    /// If `weights` isn't a whole safetensors file.
    pub fn parse(weights: &[u8], device: &Device) -> Result<Self> {
        let left = candle_core::safetensors::load_buffer(weights, &Device::Cpu).map_err(|e| {
            Error::input(format!("{WEIGHTS_FILE}: not a whole safetensors file ({e})"))
                .help("the file is cut short or damaged")
        })?;
        Ok(Self { left: left.into_iter().collect(), device: device.clone() })
    }

    /// The sizes of a tensor that nobody has taken.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.left.get(name).map(Tensor::dims)
    }

    /// The first name of which this is true.
    pub fn find(&self, is: impl Fn(&str) -> bool) -> Option<&str> {
        self.left.keys().map(String::as_str).find(|name| is(name))
    }

    /// The tensor `name`, `[shape...]`, in f32.
    ///
    /// # Errors
    /// If it isn't there, or in another shape, or holds something else than finite numbers.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor =
            self.left.remove(name).ok_or_else(|| Error::input(format!("no tensor `{name}`"))).at(WEIGHTS_FILE)?;
        if tensor.dims() != shape {
            let found = tensor.dims();
            return Err(Error::input(format!("tensor `{name}` has shape {found:?}, not {shape:?}")).at(WEIGHTS_FILE))
                .map_err(|e| e.help("the adapter was trained for another backbone"));
        }
        if !matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16 | DType::F64) {
            let dtype = tensor.dtype().as_str();
            return Err(Error::input(format!("tensor `{name}` has numbers of type {dtype}"))
                .help("adapters in float32, float16 and bfloat16 can be read; quantised ones can't"))
            .at(WEIGHTS_FILE);
        }
        let tensor = tensor.to_dtype(DType::F32)?;
        check_finite(name, &tensor.flatten_all()?.to_vec1()?).at(WEIGHTS_FILE)?;
        Ok(tensor.to_device(&self.device)?)
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// The first tensor that is left, and what it may stand for.
    pub fn finish(self) -> Result<()> {
        let Some(name) = self.left.keys().next() else { return Ok(()) };
        let others = match self.left.len() {
            1 => String::new(),
            n => format!(", like {} others", n - 1),
        };
        let (what, help) = meaning(name);
        Err(Error::input(format!("tensor `{name}`{others} {what}")).help(help)).at(WEIGHTS_FILE)
    }
}

/// What a tensor that nobody reads would be, and what to do.
fn meaning(name: &str) -> (&'static str, &'static str) {
    if name.contains(".lora_magnitude_vector") {
        (
            "belongs to DoRA, and the configuration says nothing of it",
            "`use_dora` in the configuration should be true: the files belong to different adapters",
        )
    } else if name.contains(".lora_") {
        (
            "changes a layer that the configuration doesn't choose (`target_modules`), or in a way that isn't supported",
            "linear layers inside the backbone can be changed: not its embedding, its output layer or single experts",
        )
    } else {
        (
            "isn't part of the adapter as far as it is understood",
            "it may be a trained copy of a layer of the backbone (`modules_to_save`, a resized vocabulary), \
             without which the adapter computes something else: take another one",
        )
    }
}

/// `numbers` are those of a whole tensor, `[numbers]`.
///
/// # Errors
/// Says what stands in place of a finite number in the tensor `name`.
pub fn check_finite(name: &str, numbers: &[f32]) -> Result<()> {
    match numbers.iter().find(|x| !x.is_finite()) {
        None => Ok(()),
        Some(x) => Err(Error::input(format!("tensor `{name}` holds {x}, which is not a finite number"))
            .help("the training that made it went wrong, or the file is damaged")),
    }
}
