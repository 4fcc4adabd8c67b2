//! Backbones, adapters, kernels and weight files.
//!
//! A backbone reads a [`TokenTree`]: many sequences packed into one row, where a sequence may continue a shared one. The
//! instruction that all samples of a batch share is computed once, and so is the sentence that candidate labels branch off.

pub mod adapters;
mod autograd;
mod backbone;
mod backbone_spec;
mod bert;
mod blocks;
mod chatglm;
mod decoder;
pub mod device;
mod encoder;
mod family_registry;
mod greedy;
mod kv_cache;
mod layer;
mod linear;
mod llama;
pub(crate) mod ops;
pub mod reference;
mod seeded;
#[cfg(test)]
pub(crate) mod test_models;
mod token_tree;
pub mod weights;

pub use adapters::{Adapter, AdapterSpec};
pub use backbone::{Backbone, BackboneShape, Dims, Mode, Module};
pub use backbone_spec::{BackboneSpec, Dtype, numerics};
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use family_registry::{
    attention_output, dims, is_encoder, load, load_decoder, load_decoder_as, load_encoder, load_encoder_as,
    load_random, modules, usual_targets,
};
pub use greedy::{greedy, most_likely};
pub use kv_cache::KvCache;
pub(crate) use ops::buffers::free_unused as free_unused_buffers;
pub use token_tree::{Segment, TokenTree};
pub use weights::model_config::ConfigTable;
