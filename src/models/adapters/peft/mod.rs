//! PEFT's adapter files: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Every key and every tensor is read by somebody, or refused by its name: what PEFT would make something of must not be
//! left out without a word. Each method reads its own in its own file.

mod keys;
mod pattern;
mod peft_files;
mod targets;
mod tensors;
mod write;

pub use keys::Keys;
pub use peft_files::{CONFIG_FILE, SEQUENCES, WEIGHTS_FILE};
pub use targets::{PerLayer, Targets};
pub use tensors::Tensors;
pub use write::{pretty, weights};
