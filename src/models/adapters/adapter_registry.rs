//! Which methods there are: one file a method, one line here.

use super::adapter_method::AdapterKind;

/// Every method.
pub static METHODS: &[AdapterKind] = &[
    AdapterKind::of::<super::none::UntrainedOptions>(),
    AdapterKind::of::<super::lora::LoraOptions>(),
    AdapterKind::of::<super::ptuning2::PrefixOptions>(),
    AdapterKind::of::<super::prompt_tuning::PromptOptions>(),
];

/// The method of this name.
pub fn kind(name: &str) -> Option<&'static AdapterKind> {
    METHODS.iter().find(|kind| kind.name == name)
}

/// The method that PEFT calls so.
pub fn of_peft_type(peft_type: &str) -> Option<&'static AdapterKind> {
    METHODS.iter().find(|kind| kind.peft_type == Some(peft_type))
}

/// The methods that have an option of this name.
pub fn owners(option: &str) -> Vec<&'static AdapterKind> {
    METHODS.iter().filter(|kind| kind.keys().iter().any(|key| key == option)).collect()
}
