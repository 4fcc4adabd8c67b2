//! What `--model` names: a shape that is known, a configuration, or weights.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    base::error::{Error, IoAt, Result},
    models::{BackboneSpec, ConfigTable, Dtype},
};

/// Configurations that `--model` knows by name.
const SHAPES: &[(&str, &str)] = &[
    ("smollm2-135m", include_str!("../../../benches/models/smollm2-135m.json")),
    ("qwen2.5-0.5b", include_str!("../../../benches/models/qwen2.5-0.5b.json")),
    ("chatglm2-6b", include_str!("../../../benches/models/chatglm2-6b.json")),
    ("minilm-l6", include_str!("../../../benches/models/minilm-l6.json")),
];

/// Where configurations say how many layers there are.
const LAYERS: [&str; 2] = ["num_layers", "num_hidden_layers"];

/// Files by the names they have in an artifact.
pub type Files = BTreeMap<String, PathBuf>;

/// A shape whose weights are drawn, with `layers` in place of its own number where that is given.
///
/// # Errors
/// If there is no such shape.
pub fn drawn(model: &str, dtype: Dtype, layers: Option<usize>) -> Result<BackboneSpec> {
    let named = SHAPES.iter().find(|(name, _)| *name == model);
    let mut config = match named {
        Some((_, text)) => config(text.as_bytes(), model)?,
        None => {
            let path = Path::new(model);
            let path = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
            config(&std::fs::read(&path).io_at("read", &path).map_err(|e| e.help(known()))?, model)?
        }
    };
    if let Some(layers) = layers {
        for key in LAYERS {
            if let Some(value) = config.get_mut(key) {
                *value = layers.into();
            }
        }
    }
    Ok(spec(config, dtype))
}

/// What to compute with the weights in a folder, or in one GGUF file.
///
/// # Errors
/// If there is no model there.
pub fn stored(model: &str, dtype: Dtype) -> Result<(BackboneSpec, Files)> {
    let files = files(model, Path::new(model))?;
    let config = match files.get("config.json") {
        Some(path) => config(&std::fs::read(path).io_at("read", path)?, model)?,
        // A GGUF file brings its own, and those of llama's build are read.
        None => ConfigTable::new(),
    };
    Ok((spec(config, dtype), files))
}

fn spec(config: ConfigTable, dtype: Dtype) -> BackboneSpec {
    let family = match config.get("model_type").and_then(Value::as_str) {
        Some("chatglm") => "chatglm",
        Some("bert") => "bert",
        _ => "llama",
    };
    BackboneSpec { family: family.to_owned(), dtype, config }
}

fn config(text: &[u8], model: &str) -> Result<ConfigTable> {
    serde_json::from_slice(text).map_err(|e| Error::input(format!("the configuration of {model}: {e}")))
}

fn known() -> String {
    let names: Vec<_> = SHAPES.iter().map(|(name, _)| *name).collect();
    format!("`--random` knows the shapes {}, and reads any config.json", names.join(", "))
}

fn files(model: &str, path: &Path) -> Result<Files> {
    let entry = |path: PathBuf| Some((path.file_name()?.to_string_lossy().into_owned(), path));
    if path.is_file() {
        return Ok(entry(path.to_owned()).into_iter().collect());
    }
    let folder = std::fs::read_dir(path).io_at("read", path).map_err(|e| {
        if SHAPES.iter().any(|(name, _)| *name == model) {
            e.help("this is the name of a shape: add `--random`")
        } else {
            e.help("give a folder with weights, a GGUF file, or `--random`")
        }
    })?;
    Ok(folder.filter_map(|file| entry(file.ok()?.path())).collect())
}
