//! Which of a model's files hold its weights. Where more than one answer is possible, none is chosen.

use super::{
    account::some_of,
    model_config::Config,
    model_files::{Files, ambiguous, base, listed},
    weight_format::{ChosenFiles, WeightFormat},
};
use crate::base::{
    error::{Error, Result},
    strict_json,
};

/// One line per format, in order of preference: where there are files of one, those of later ones aren't looked at.
const FORMATS: &[&dyn WeightFormat] = &[&super::gguf::Gguf, &super::safetensors::Safetensors, &super::torch::Torch];

/// Far above any `config.json`.
const LARGEST_CONFIG: u64 = 4 << 20;

/// `config.json`, where there is one.
///
/// # Errors
/// If there are several, or it can't be read.
pub fn config(files: &Files) -> Result<Option<Config>> {
    let found: Vec<_> = files.iter().filter(|(name, _)| base(name) == "config.json").collect();
    match found.as_slice() {
        [] => Ok(None),
        [(name, path)] => Ok(Some(Config::new(*name, strict_json::object(name, path, LARGEST_CONFIG)?))),
        many => Err(Error::input(format!(
            "several files describe the model: {}",
            some_of(many.iter().map(|(name, _)| name.as_str()))
        ))
        .help("leave all but one out of the model's `source`")),
    }
}

/// The weights among `files`, and their format.
///
/// # Errors
/// If there are none, or more than one choice is possible.
pub fn choose(files: &Files) -> Result<(&'static dyn WeightFormat, ChosenFiles)> {
    refuse_adapters(files)?;
    let of_format = |format: &'static dyn WeightFormat| {
        files.keys().filter(|name| format.has(name)).map(move |name| (format, name.as_str()))
    };
    let all: Vec<_> = FORMATS.iter().flat_map(|format| of_format(*format)).collect();
    if all.len() > 1 && all.iter().any(|(format, _)| format.stands_alone()) {
        return Err(ambiguous(all.into_iter().map(|(_, name)| name)));
    }
    for format in FORMATS {
        if let Some(chosen) = format.choose(files)? {
            return Ok((*format, chosen));
        }
    }
    Err(Error::input(format!("no weights among the model's files: {}", listed(files)))
        .help("a model needs .safetensors or pytorch_model*.bin with config.json, or one .gguf"))
}

fn refuse_adapters(files: &Files) -> Result<()> {
    let adapter = files.keys().find(|name| {
        let base = base(name);
        base == "adapter_config.json" || base.starts_with("adapter_model.")
    });
    match adapter {
        None => Ok(()),
        Some(name) => Err(Error::input(format!("`{name}` belongs to an adapter, which isn't part of the model"))
            .help("make it a `model` of its own, and give that to `evaluate` as its input `adapter`")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn files(names: &[&str]) -> Files {
        names.iter().map(|name| ((*name).to_owned(), PathBuf::from("/nowhere"))).collect()
    }

    #[track_caller]
    fn refused(names: &[&str], parts: &[&str]) {
        let e = choose(&files(names)).map(drop).unwrap_err();
        assert!(parts.iter().all(|part| e.message.contains(part)) && e.help.is_some(), "{e}");
    }

    #[test]
    fn one_file_or_a_counted_set_is_chosen() {
        let names = |names: &[&str]| choose(&files(names)).unwrap().1.files.into_keys().collect::<Vec<_>>();
        assert_eq!(names(&["config.json", "any.safetensors", "tokenizer.json"]), ["any.safetensors"]);
        assert_eq!(names(&["model.safetensors", "pytorch_model.bin"]), ["model.safetensors"]);
        assert_eq!(names(&["pytorch_model.bin", "training_args.bin"]), ["pytorch_model.bin"]);
        assert_eq!(names(&["m.gguf", "tokenizer.json"]), ["m.gguf"]);
        let counted = ["m-1-of-2.safetensors", "m-2-of-2.safetensors"];
        assert_eq!(names(&counted), counted);
    }

    #[test]
    fn what_may_be_meant_in_two_ways_is_refused_by_name() {
        refused(
            &["consolidated.safetensors", "model.safetensors"],
            &["`consolidated.safetensors`, `model.safetensors`"],
        );
        refused(&["2_Dense/model.safetensors", "model.safetensors"], &["2_Dense/model.safetensors"]);
        refused(&["pytorch_model.bin", "pytorch_model.fp16.bin"], &["pytorch_model.fp16.bin"]);
        refused(&["a-1-of-2.safetensors", "a-2-of-2.safetensors", "b.safetensors"], &["b.safetensors"]);
        refused(&["a.gguf", "b.gguf"], &["`a.gguf`, `b.gguf`"]);
        refused(&["m.gguf", "model.safetensors"], &["m.gguf", "model.safetensors"]);
        refused(&["a-1-of-9.safetensors"], &["`a-2-of-9.safetensors` isn't among"]);
        refused(&["a-1-of-99999999999.safetensors", "b.safetensors"], &["several files"]);
        refused(&["tokenizer.json"], &["no weights"]);
        for adapter in ["adapter_model.safetensors", "x/adapter_config.json", "adapter_model.bin"] {
            refused(&[adapter, "model.safetensors"], &[adapter, "adapter"]);
        }
        let e = config(&files(&["1_Pooling/config.json", "config.json"])).unwrap_err();
        assert!(e.message.contains("1_Pooling/config.json") && e.help.is_some(), "{e}");
    }
}
