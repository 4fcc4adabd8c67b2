//! How a head begins for a backbone, and where it stands among the tensors of an adapter.

use candle_core::{Tensor, Var};

use super::{head::Head, peft::Tensors};
use crate::{
    base::error::Result,
    models::{Backbone, seeded},
};

impl Head {
    /// Both uniform in `±1/sqrt(hidden)`, as PyTorch's linear layer starts.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(labels: usize, backbone: &dyn Backbone, seed: u64) -> Result<Self> {
        let (name, hidden, device) = (backbone.head_name(), backbone.dims().hidden, backbone.device());
        let bound = 1.0 / (hidden as f32).sqrt();
        let weight = seeded::uniform(seed, &format!("{name}.weight"), labels * hidden, bound);
        let bias = seeded::uniform(seed, &format!("{name}.bias"), labels, bound);
        Ok(Self::of_variables(
            name,
            Var::from_vec(weight, (labels, hidden), device)?,
            Var::from_vec(bias, labels, device)?,
        ))
    }

    /// The head among an adapter's tensors, if there is one.
    ///
    /// # Errors
    /// If it has a tensor of another shape, or something else than finite numbers, or lacks a bias where one is due.
    pub(super) fn read(tensors: &mut Tensors, backbone: &dyn Backbone) -> Result<Option<Self>> {
        let name = backbone.head_name();
        let found = PLACES.iter().find_map(|place| {
            let path = format!("{place}{name}");
            let labels = *tensors.dims(&format!("{path}.weight"))?.first()?;
            Some((path, labels))
        });
        let Some((path, labels)) = found else { return Ok(None) };
        let weight = tensors.take(&format!("{path}.weight"), &[labels, backbone.dims().hidden])?;
        let bias = format!("{path}.bias");
        // Decoders of the reference implementation have a head without.
        let bias = if name == DECODERS && tensors.dims(&bias).is_none() {
            Tensor::zeros(labels, weight.dtype(), weight.device())?
        } else {
            tensors.take(&bias, &[labels])?
        };
        Self::from_tensors(name, &weight, &bias).map(Some)
    }

    /// Whether `modules_to_save` means the head by `name`. PEFT writes down the heads' names of several families.
    pub(super) fn is_named(name: &str, backbone: &dyn Backbone) -> bool {
        name == backbone.head_name() || NAMES.contains(&name)
    }
}

/// What the reference implementation calls the head of a decoder.
const DECODERS: &str = "score";

/// What PEFT takes for the name of a head.
const NAMES: [&str; 2] = ["classifier", DECODERS];

/// Where PEFT keeps a head beside an adapter that wraps layers (LoRA), and beside one that doesn't (a prefix).
pub(super) const PLACES: [&str; 2] = ["base_model.model.", "base_model."];
