//! Which of a model's files hold its weights. Where more than one answer is possible, none is chosen.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{account::some_of, model_config::Config, safetensors, shard_index::Index, stored::Stored, torch};
use crate::base::{
    error::{Error, Result},
    strict_json,
};

/// Files by the names they have in the artifact.
pub type Files = BTreeMap<String, PathBuf>;

/// A format of weight files.
pub struct Format {
    /// How the name of an index ends.
    index: &'static str,
    /// Start and end of a weight file's name.
    name: (&'static str, &'static str),
    pub list: fn(&str, &Path) -> Result<BTreeMap<String, Stored>>,
}

/// In order of preference: where there are files of the first, the second's aren't looked at.
const FORMATS: [Format; 2] = [
    Format { index: ".safetensors.index.json", name: ("", ".safetensors"), list: safetensors::list },
    Format { index: ".bin.index.json", name: ("pytorch_model", ".bin"), list: torch::list },
];

/// Where a model's weights are.
pub enum Chosen<'a> {
    Gguf { name: &'a str, path: &'a Path },
    Shards { format: &'static Format, index: Option<Index>, names: BTreeSet<String> },
}

/// Far above any `config.json`.
const LARGEST_CONFIG: u64 = 4 << 20;

/// `config.json`, where there is one.
pub fn config(files: &Files) -> Result<Option<Config>> {
    let found: Vec<_> = files.iter().filter(|(name, _)| base(name) == "config.json").collect();
    match found.as_slice() {
        [] => Ok(None),
        [(name, path)] => Ok(Some(Config::new(*name, strict_json::object(name, path, LARGEST_CONFIG)?))),
        many => Err(Error::input(format!("several files describe the model: {}", some_of(many.iter().map(first))))
            .help("leave all but one out of the model's `source`")),
    }
}

pub fn choose(files: &Files) -> Result<Chosen<'_>> {
    refuse_adapters(files)?;
    let ggufs: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".gguf")).collect();
    let others = FORMATS.iter().flat_map(|format| files.keys().filter(|name| format.has(name)));
    match ggufs.as_slice() {
        [] => shards(files),
        [(name, path)] if others.clone().next().is_none() => Ok(Chosen::Gguf { name, path }),
        many => Err(ambiguous(many.iter().map(first).chain(others.map(String::as_str)))),
    }
}

fn first<'a>((name, _): &(&'a String, &PathBuf)) -> &'a str {
    name
}

fn shards(files: &Files) -> Result<Chosen<'_>> {
    for format in &FORMATS {
        let indices: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(format.index)).collect();
        let index = match indices.as_slice() {
            [] => None,
            [(name, path)] => Some(Index::read(name, path)?),
            many => return Err(ambiguous(many.iter().map(first))),
        };
        let present: BTreeSet<_> = files.keys().filter(|name| format.has(name)).cloned().collect();
        match index {
            Some(index) => {
                let names = index.files();
                let beside: Vec<_> = present.difference(&names).map(String::as_str).collect();
                if !beside.is_empty() {
                    let place = &index.name;
                    return Err(Error::input(format!("{place} doesn't know of {}", some_of(beside)))
                        .help("leave out of the model's `source` what isn't part of the model"));
                }
                if let Some(missing) = names.difference(&present).next() {
                    return Err(Error::input(format!(
                        "{} names `{missing}`, which isn't among the model's files: {}",
                        index.name,
                        listed(files)
                    ))
                    .help("add the file to the model's `source`"));
                }
                return Ok(Chosen::Shards { format, index: Some(index), names });
            }
            None if !present.is_empty() => {
                check_numbers(&present, files)?;
                return Ok(Chosen::Shards { format, index: None, names: present });
            }
            None => (),
        }
    }
    Err(Error::input(format!("no weights among the model's files: {}", listed(files)))
        .help("a model needs .safetensors or pytorch_model*.bin with config.json, or one .gguf"))
}

/// Without an index there is one file, or the names of several count them: `model-00001-of-00007.safetensors`.
fn check_numbers(names: &BTreeSet<String>, files: &Files) -> Result<()> {
    if let Some(missing) = names.iter().find_map(|name| missing_beside(name, names)) {
        return Err(Error::input(format!("the shard `{missing}` isn't among the model's files: {}", listed(files)))
            .help("add the file to the model's `source`"));
    }
    let counts = names.iter().all(|name| siblings(name).is_some_and(|siblings| siblings.len() == names.len()));
    if names.len() > 1 && !counts { Err(ambiguous(names.iter().map(String::as_str))) } else { Ok(()) }
}

/// The first file that `name` says there is beside it, and isn't.
fn missing_beside(name: &str, names: &BTreeSet<String>) -> Option<String> {
    siblings(name)?.into_iter().find(|sibling| !names.contains(sibling))
}

/// The names of a model's files by one of them.
fn siblings(name: &str) -> Option<Vec<String>> {
    const MOST: usize = 10_000;
    let (start, rest) = name.rsplit_once("-of-")?;
    let (stem, number) = start.rsplit_once('-')?;
    let (count, end) = rest.split_once('.')?;
    number.parse::<usize>().ok()?;
    let width = number.len();
    let last = count.parse::<usize>().ok().filter(|last| *last <= MOST)?;
    Some((1..=last).map(|i| format!("{stem}-{i:0width$}-of-{count}.{end}")).collect())
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

fn ambiguous<'a>(names: impl IntoIterator<Item = &'a str>) -> Error {
    Error::input(format!("several files may be the model's weights: {}", some_of(names)))
        .help("keep in the model's `source` those that are meant, with their index where they are shards of one model")
}

fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn listed(files: &Files) -> String {
    files.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

impl Format {
    fn has(&self, name: &str) -> bool {
        let (start, end) = self.name;
        base(name).starts_with(start) && name.ends_with(end)
    }
}

#[cfg(test)]
mod tests {
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
        let names = |names: &[&str]| match choose(&files(names)).unwrap() {
            Chosen::Gguf { name, .. } => vec![name.to_owned()],
            Chosen::Shards { names, .. } => names.into_iter().collect(),
        };
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
