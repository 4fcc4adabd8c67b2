//! The index of a model in several files.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

use serde_json::{Map, Value};

use crate::base::{
    error::{At, Error, Result},
    strict_json,
};

/// Far above any model's index.
const LARGEST: u64 = 32 << 20;

/// Which file has which tensor.
pub struct Index {
    pub name: String,
    /// A tensor, and the file that has it.
    pub places: BTreeMap<String, String>,
}

impl Index {
    /// The index `name` at `path`.
    ///
    /// # Errors
    /// If it can't be read, or names files outside the model's folder.
    pub fn read(name: &str, path: &Path) -> Result<Self> {
        let index = strict_json::object(name, path, LARGEST)?;
        let places = places(name, &index).at(name)?;
        Ok(Self { name: name.to_owned(), places })
    }

    /// All files that it names.
    pub fn files(&self) -> BTreeSet<String> {
        self.places.values().cloned().collect()
    }
}

/// What the index `name` says, with files named as in the artifact.
fn places(name: &str, index: &Map<String, Value>) -> Result<BTreeMap<String, String>> {
    let weights = match index.get("weight_map") {
        Some(Value::Object(map)) if !map.is_empty() => map,
        Some(Value::Object(_)) => {
            return Err(Error::input("lists no tensor").help("the file is damaged: fetch it again"));
        }
        _ => return Err(Error::input("has no `weight_map`").help("the file is damaged: fetch it again")),
    };
    let folder = name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let place = |(tensor, file): (&String, &Value)| match file.as_str() {
        Some(file) if is_inside(file) => Ok((tensor.clone(), format!("{folder}{file}"))),
        Some(file) => Err(Error::input(format!("says that `{tensor}` lies in `{file}`, outside the model's folder"))
            .help("don't trust these files: a model's index names files beside it")),
        None => Err(Error::input(format!("says that `{tensor}` lies in {file}, which is no file's name"))
            .help("the file is damaged: fetch it again")),
    };
    weights.iter().map(place).collect()
}

fn is_inside(file: &str) -> bool {
    !file.is_empty() && !file.contains('\\') && Path::new(file).components().all(|c| matches!(c, Component::Normal(_)))
}
