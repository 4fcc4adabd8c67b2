//! The weights and the configuration in a model's files, and which tensors were read.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use candle_core::{DType, Device, Tensor};

use super::{
    account::{is_listed, some_of},
    gguf_tensors,
    model_config::Config,
    random_weights,
    shards::Shards,
    weight_files::{self, Chosen},
};
use crate::{
    base::error::{At, Error, Result},
    models::ConfigTable,
};

/// An open set of weight files and the model's configuration.
pub struct Weights {
    config: Config,
    format: Format,
    /// Tensors that were asked for, under the names that the files have for them.
    read: RefCell<BTreeSet<String>>,
}

enum Format {
    Shards(Shards),
    Gguf(gguf_tensors::File),
    /// No files: whatever is asked for is drawn.
    Random,
}

impl Weights {
    fn new(config: Config, format: Format) -> Self {
        Self { config, format, read: RefCell::default() }
    }

    /// Random weights in the shapes of `config`.
    pub fn random(config: Config) -> Self {
        Self::new(config, Format::Random)
    }

    /// Opens `files` (name inside the artifact, and path): one `.gguf`; or `.safetensors` or PyTorch's `.bin`, each with
    /// `config.json`. `table` is what a pipeline file states of the configuration, and may stand in for `config.json`.
    pub fn open(files: &BTreeMap<String, PathBuf>, table: &ConfigTable) -> Result<Self> {
        let chosen = weight_files::choose(files)?;
        let stated = weight_files::config(files)?;
        match chosen {
            Chosen::Gguf { name, path } => {
                let (file, own) = gguf_tensors::File::open(name, path)?;
                let config = match stated {
                    Some(stated) => own.with(stated)?,
                    None => own,
                };
                Ok(Self::new(config.with_table(table)?, Format::Gguf(file)))
            }
            Chosen::Shards { format, index, names } => {
                let config = match stated {
                    Some(config) => config.with_table(table)?,
                    None if !table.is_empty() => Config::of_table(table),
                    None => {
                        let have = files.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                        return Err(Error::input(format!("no config.json among the model's files: {have}"))
                            .help("add it to the model's `source`, or state its keys in the model's `config` table"));
                    }
                };
                Ok(Self::new(config, Format::Shards(Shards::open(files, format, index, &names)?)))
            }
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(match &self.format {
            Format::Shards(shards) => shards.find(name)?.map(|t| t.shape.clone()),
            Format::Gguf(file) => file.shape(name),
            Format::Random => None,
        })
    }

    pub fn has(&self, name: &str) -> Result<bool> {
        Ok(self.shape(name)?.is_some())
    }

    /// The file with the tensor `name`, or where it would have to be, for messages.
    fn place(&self, name: &str) -> Result<String> {
        Ok(match &self.format {
            Format::Shards(shards) => shards.find(name)?.map_or_else(|| shards.place(), |t| t.file.name.clone()),
            Format::Gguf(file) => file.name().to_owned(),
            Format::Random => "random weights".to_owned(),
        })
    }

    fn note(&self, name: &str) {
        let stored = match &self.format {
            Format::Gguf(_) => gguf_tensors::stored_name(name).unwrap_or_default(),
            _ => name.to_owned(),
        };
        self.read.borrow_mut().insert(stored);
    }

    /// The tensor `name`, converted to `dtype` as it is read. Its shape must be `shape`.
    pub fn tensor(&self, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        self.note(name);
        let found = match self.format {
            Format::Random => Some(shape.to_vec()),
            _ => self.shape(name)?,
        };
        match found {
            None => Err(Error::input(format!("{}: there is no tensor `{name}`", self.place(name)?))
                .help("the files are incomplete, or belong to a model of another family")),
            Some(found) if found != shape => Err(Error::input(format!(
                "{}: tensor `{name}` has shape {found:?}, and the model's configuration asks for {shape:?}",
                self.place(name)?
            ))
            .help("configuration and weights belong to different models")),
            Some(_) => match &self.format {
                Format::Shards(shards) => match shards.find(name)? {
                    Some(stored) => stored.load(dtype, device).at(format!("tensor `{name}`")).at(&stored.file.name),
                    None => Err(Error::internal(format!("tensor `{name}` is gone"))),
                },
                Format::Gguf(file) => file.load(name, dtype, device),
                Format::Random => Ok(random_weights::tensor(name, shape, dtype, device)?),
            },
        }
    }

    /// Refuses a tensor `second` with other numbers than those of `name`, in whose place the configuration puts it.
    pub fn check_equal(&self, second: &str, name: &str) -> Result<()> {
        let Format::Shards(shards) = &self.format else { return Ok(()) };
        let (Some(stored), Some(first)) = (shards.find(second)?, shards.find(name)?) else { return Ok(()) };
        self.note(second);
        if stored.equals(first).at(format!("tensor `{second}`")).at(&stored.file.name)? {
            return Ok(());
        }
        let (file, place) = (&stored.file.name, self.config.place());
        Err(Error::input(format!(
            "{file}: `{second}` isn't `{name}`, and `tie_word_embeddings` of {place} says that they are one"
        ))
        .help("configuration and weights belong to different models, or the flag is wrong"))
    }

    /// # Errors
    /// If the files have a tensor that nobody read and none of the lists calls harmless ([`is_listed`]).
    pub fn refuse_unread(&self, harmless: &[&[&str]]) -> Result<()> {
        let read = self.read.borrow();
        let unread = |name: &str| !read.contains(name) && !is_listed(name, harmless);
        let unread: BTreeMap<&str, &str> = match &self.format {
            Format::Random => BTreeMap::new(),
            Format::Gguf(file) => file.names().filter(|name| unread(name)).map(|name| (name, file.name())).collect(),
            Format::Shards(shards) => shards.all().filter(|(name, _)| unread(name)).collect(),
        };
        let Some(place) = unread.values().next() else { return Ok(()) };
        let (names, what) = (some_of(unread.keys().copied()), if unread.len() == 1 { "tensor" } else { "tensors" });
        Err(Error::input(format!(
            "{place}: no part of the model that {} describes has the {what} {names}",
            self.config.place()
        ))
        .help("configuration and weights belong to different models, or the model has parts that this program doesn't know"))
    }
}
