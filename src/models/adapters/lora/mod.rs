//! LoRA and its variants.

mod lora_adapter;
mod lora_method;
mod lora_options;
mod peft_lora;

pub use lora_adapter::Lora;
pub use lora_options::LoraOptions;
