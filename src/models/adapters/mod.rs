//! What is trained on top of a frozen backbone. One file a method, one line each in `adapter_registry.rs`.

mod adapter;
mod adapter_method;
mod adapter_registry;
mod adapter_spec;
mod adapter_table;
mod detached;
mod head;
mod head_of_backbone;
mod layer_names;
mod load_adapter;
mod lora;
mod none;
mod peft;
mod prompt_tuning;
mod ptuning2;
mod stated;
mod trained_linear;
mod with_head;

pub use adapter::{Adapter, LowRank, RowLengths, SavedAdapter};
pub use adapter_method::{AdapterKind, AdapterMethod, AdapterOptions, Wrong};
pub use adapter_registry::{METHODS, kind, owners};
pub use adapter_spec::AdapterSpec;
pub use adapter_table::read_adapter;
pub use detached::DetachedAdapter;
pub use head::Head;
pub use load_adapter::load;
pub use lora::{Lora, LoraOptions};
pub use none::{Untrained, UntrainedOptions};
pub use peft::{CONFIG_FILE, WEIGHTS_FILE};
pub use prompt_tuning::{PromptInit, PromptOptions};
pub use ptuning2::{PrefixInit, PrefixOptions, PrefixTuning};
pub use stated::Stated;
pub use with_head::WithHead;
