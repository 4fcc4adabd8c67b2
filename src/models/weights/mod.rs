//! Weight files as their publishers write them, under the tensor names of the reference implementation.

mod account;
pub mod config;
mod files;
mod gguf;
mod gguf_config;
pub mod harmless;
mod index;
mod loader;
mod open;
mod pickle;
mod random;
mod safetensors;
mod shards;
mod stored;
mod torch;

pub use self::{loader::Loader, open::Weights};
