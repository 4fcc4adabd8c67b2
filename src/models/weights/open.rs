//! The weights and the configuration in a model's files, and which tensors were read.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use candle_core::{DType, Device, Tensor};

use super::{
    account::{is_listed, some_of},
    model_config::{Config, ConfigTable},
    model_files::{Files, listed},
    random_weights, weight_files,
    weight_format::{OpenedWeights, TensorSource},
};
use crate::base::error::{Error, Result};

/// An open set of weight files and the model's configuration.
pub struct Weights {
    config: Config,
    /// None: whatever is asked for is drawn.
    files: Option<Box<dyn TensorSource>>,
    /// Tensors that were asked for, under the names that the files have for them.
    read: RefCell<BTreeSet<String>>,
}

impl Weights {
    /// Random weights in the shapes of `config`.
    pub fn random(config: Config) -> Self {
        Self { config, files: None, read: RefCell::default() }
    }

    /// Opens `files` (name inside the artifact, and path) in whatever format they are. `table` is what a pipeline file
    /// states of the
    /// configuration, and may stand in for `config.json`.
    ///
    /// # Errors
    /// If more than one choice of files or of their configuration is possible, or they can't be read.
    pub fn open(files: &Files, table: &ConfigTable) -> Result<Self> {
        let (format, chosen) = weight_files::choose(files)?;
        let stated = weight_files::config(files)?;
        if !format.has_config() && stated.is_none() && table.is_empty() {
            return Err(Error::input(format!("no config.json among the model's files: {}", listed(files)))
                .help("add it to the model's `source`, or state its keys in the model's `config` table"));
        }
        let OpenedWeights { tensors, config: own } = format.open(chosen)?;
        let config = match (own, stated) {
            (Some(own), Some(stated)) => own.with(stated)?.with_table(table)?,
            (Some(one), None) | (None, Some(one)) => one.with_table(table)?,
            (None, None) => Config::of_table(table),
        };
        Ok(Self { config, files: Some(tensors), read: RefCell::default() })
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the files have a tensor; random ones have none but those that are asked for.
    ///
    /// # Errors
    /// If an index names a file for it that doesn't have it.
    pub fn has(&self, name: &str) -> Result<bool> {
        self.files.as_ref().map_or(Ok(false), |files| Ok(files.shape(name)?.is_some()))
    }

    fn note(&self, stored_name: String) {
        self.read.borrow_mut().insert(stored_name);
    }

    /// The tensor `name`, `[shape...]`, converted to `dtype` as it is read. Its shape must be `shape`.
    ///
    /// # Errors
    /// If there is none, it has another shape, or it can't be read.
    pub fn tensor(&self, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        let Some(files) = &self.files else { return Ok(random_weights::tensor(name, shape, dtype, device)?) };
        self.note(files.stored_name(name));
        match files.shape(name)? {
            None => Err(Error::input(format!("{}: there is no tensor `{name}`", files.place(name)?))
                .help("the files are incomplete, or belong to a model of another family")),
            Some(found) if found != shape => Err(Error::input(format!(
                "{}: tensor `{name}` has shape {found:?}, and the model's configuration asks for {shape:?}",
                files.place(name)?
            ))
            .help("configuration and weights belong to different models")),
            Some(_) => files.load(name, dtype, device),
        }
    }

    /// Refuses a tensor `second` with other numbers than those of `name`, in whose place the configuration puts it.
    ///
    /// # Errors
    /// If there is such a one, or it can't be read.
    pub fn check_equal(&self, second: &str, name: &str) -> Result<()> {
        let Some(files) = &self.files else { return Ok(()) };
        let Some(equal) = files.are_equal(second, name)? else { return Ok(()) };
        self.note(files.stored_name(second));
        if equal {
            return Ok(());
        }
        let (file, place) = (files.place(second)?, self.config.place());
        Err(Error::input(format!(
            "{file}: `{second}` isn't `{name}`, and `tie_word_embeddings` of {place} says that they are one"
        ))
        .help("configuration and weights belong to different models, or the flag is wrong"))
    }

    /// # Errors
    /// If the files have a tensor that nobody read and none of the lists calls harmless ([`is_listed`]).
    pub fn refuse_unread(&self, harmless: &[&[&str]]) -> Result<()> {
        let Some(files) = &self.files else { return Ok(()) };
        let read = self.read.borrow();
        let unread = |(name, _): &(&str, &str)| !read.contains(*name) && !is_listed(name, harmless);
        let unread: BTreeMap<&str, &str> = files.all().into_iter().filter(unread).collect();
        let Some(place) = unread.values().next() else { return Ok(()) };
        let (names, what) = (some_of(unread.keys().copied()), if unread.len() == 1 { "tensor" } else { "tensors" });
        Err(Error::input(format!(
            "{place}: no part of the model that {} describes has the {what} {names}",
            self.config.place()
        ))
        .help("configuration and weights belong to different models, or the model has parts that this program doesn't know"))
    }
}
