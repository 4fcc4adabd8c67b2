//! Weight files of one format, in one piece or sharded by an index.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{config::Config, safetensors, stored::Stored, torch};
use crate::error::{Error, IoAt, Result};

/// A format of weight files.
struct Format {
    /// How the name of an index ends.
    index: &'static str,
    /// Start and end of a weight file's name.
    name: (&'static str, &'static str),
    list: fn(&str, &Path) -> Result<BTreeMap<String, Stored>>,
}

/// In order of preference.
const FORMATS: [Format; 2] = [
    Format { index: ".safetensors.index.json", name: ("", ".safetensors"), list: safetensors::list },
    Format { index: ".bin.index.json", name: ("pytorch_model", ".bin"), list: torch::list },
];

/// Files by the names they have in the artifact.
type Files = BTreeMap<String, PathBuf>;

/// Open weight files.
pub struct Shards {
    index: Option<Index>,
    /// By the file's name in the artifact, then by the tensor's.
    files: BTreeMap<String, BTreeMap<String, Stored>>,
}

struct Index {
    name: String,
    /// A tensor, and the file that has it.
    places: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct IndexFile {
    weight_map: BTreeMap<String, String>,
}

fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn listed(files: &Files) -> String {
    files.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn read_json<T: DeserializeOwned>(name: &str, path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).io_at("read", path)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::input(format!("{name}: {e}")).help("the file is damaged: fetch it again"))
}

/// The first shard that is missing beside `name`, if that counts its siblings: `model-00001-of-00007.safetensors`.
fn missing_beside(name: &str, names: &BTreeSet<&str>) -> Option<String> {
    let (start, rest) = name.rsplit_once("-of-")?;
    let (stem, number) = start.rsplit_once('-')?;
    let (count, end) = rest.split_once('.')?;
    number.parse::<usize>().ok()?;
    let width = number.len();
    let siblings = (1..=count.parse::<usize>().ok()?).map(|i| format!("{stem}-{i:0width$}-of-{count}.{end}"));
    siblings.take(names.len() + 1).find(|sibling| !names.contains(sibling.as_str()))
}

/// `config.json`, where there is one.
pub fn config(files: &Files) -> Result<Option<Config>> {
    let found = files.iter().find(|(name, _)| base(name) == "config.json");
    found.map(|(name, path)| Ok(Config::new(name, read_json::<Map<String, Value>>(name, path)?))).transpose()
}

impl Shards {
    pub fn open(files: &Files) -> Result<Self> {
        for format in &FORMATS {
            let index = files.iter().find(|(name, _)| name.ends_with(format.index));
            let index = index.map(|(name, path)| Index::read(name, path)).transpose()?;
            let names: BTreeSet<&str> = match &index {
                Some(index) => index.places.values().map(String::as_str).collect(),
                None => files.keys().filter(|n| format.has(n)).map(String::as_str).collect(),
            };
            if !names.is_empty() {
                if index.is_none()
                    && let Some(missing) = names.iter().find_map(|name| missing_beside(name, &names))
                {
                    return Err(Error::input(format!(
                        "the shard `{missing}` isn't among the model's files: {}",
                        listed(files)
                    ))
                    .help("add the file to the model's `source`"));
                }
                let open = |name: &str| match files.get(name) {
                    Some(path) => Ok((name.to_owned(), (format.list)(name, path)?)),
                    None => {
                        let index = index.as_ref().map_or("the index", |i| i.name.as_str());
                        Err(Error::input(format!(
                            "{index} names `{name}`, which isn't among the model's files: {}",
                            listed(files)
                        ))
                        .help("add the file to the model's `source`"))
                    }
                };
                return Ok(Self { files: names.into_iter().map(open).collect::<Result<_>>()?, index });
            }
        }
        Err(Error::input(format!("no weights among the model's files: {}", listed(files)))
            .help("a model needs .safetensors or pytorch_model*.bin with config.json, or one .gguf"))
    }

    /// The tensor `name`, if there is one.
    pub fn find(&self, name: &str) -> Result<Option<&Stored>> {
        let Some(index) = &self.index else { return Ok(self.files.values().find_map(|tensors| tensors.get(name))) };
        let Some(file) = index.places.get(name) else { return Ok(None) };
        let found = self.files.get(file).and_then(|tensors| tensors.get(name));
        found.map(Some).ok_or_else(|| {
            Error::input(format!("{file} has no tensor `{name}`, which {} says it has", index.name))
                .help("the files belong to different models or are incomplete: fetch them again")
        })
    }

    /// Where a tensor's name would have to stand.
    pub fn place(&self) -> String {
        match &self.index {
            Some(index) => index.name.clone(),
            None => self.files.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        }
    }
}

impl Format {
    fn has(&self, name: &str) -> bool {
        let (start, end) = self.name;
        base(name).starts_with(start) && name.ends_with(end)
    }
}

impl Index {
    fn read(name: &str, path: &Path) -> Result<Self> {
        let IndexFile { weight_map } = read_json(name, path)?;
        let folder = name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let inside = |file: &str| {
            !file.is_empty()
                && !file.contains('\\')
                && Path::new(file).components().all(|c| matches!(c, Component::Normal(_)))
        };
        let place = |(tensor, file): (String, String)| {
            if inside(&file) {
                Ok((tensor, format!("{folder}{file}")))
            } else {
                Err(Error::input(format!("{name} says that `{tensor}` lies in `{file}`, outside the model's folder"))
                    .help("don't trust these files: a model's index names files beside it"))
            }
        };
        if weight_map.is_empty() {
            return Err(Error::input(format!("{name} lists no tensor")).help("the file is damaged: fetch it again"));
        }
        Ok(Self { name: name.to_owned(), places: weight_map.into_iter().map(place).collect::<Result<_>>()? })
    }
}
