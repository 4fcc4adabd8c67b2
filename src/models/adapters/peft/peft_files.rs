//! Names in PEFT's files.

pub const CONFIG_FILE: &str = "adapter_config.json";
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// PEFT's word for classifying texts: the adapter comes with a head.
pub const SEQUENCES: &str = "SEQ_CLS";
