//! Weight files as their publishers write them, under the tensor names of the reference implementation.

mod account;
mod gguf_config;
mod gguf_tensors;
pub mod harmless;
mod loader;
pub mod model_config;
mod open;
mod pickle;
mod random_weights;
mod safetensors;
mod shard_index;
mod shards;
mod stored;
mod torch;
mod weight_files;

pub use self::{loader::Loader, open::Weights};
