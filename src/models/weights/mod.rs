//! Weight files as their publishers write them, under the tensor names of the reference implementation.

mod account;
pub mod config_bounds;
mod config_expect;
mod config_values;
mod gguf;
pub mod harmless;
pub mod loader;
pub mod model_config;
mod model_files;
mod number_format;
pub mod open;
mod random_weights;
mod safetensors;
mod shard_choice;
mod shard_index;
mod shards;
mod stored;
mod torch;
mod weight_file;
mod weight_files;
mod weight_format;
