//! What a way to adapt a backbone has to say of itself: everything that others ask about a method goes through here.

use std::{fmt::Debug, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    adapter::Adapter,
    peft::{Keys, Tensors},
};
use crate::{
    base::error::{Error, Result},
    config::{self, Diagnostic, Node},
    models::{Backbone, BackboneShape},
};

/// A method, implemented by its options: the keys of an `adapter` table beside `kind`, each with its default.
pub trait AdapterMethod:
    Debug + Clone + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
    /// The name in pipeline files and results.
    const KIND: &'static str;

    /// The name for readers.
    const TITLE: &'static str;

    /// What PEFT calls it, if it knows it.
    const PEFT_TYPE: Option<&'static str> = None;

    /// Options that a saved adapter shows ([`Adapter::facts`]).
    const FACTS: &'static [&'static str] = &[];

    /// What the options say that can't be.
    fn check(&self) -> Result<(), Wrong> {
        Ok(())
    }

    /// Fills in what follows from the backbone's family, whose `usual_targets` are the linear layers that are changed where
    /// nothing is said. Options that mean the same become the same.
    fn complete(&mut self, _usual_targets: &[&str]) {}

    /// Whether there is anything to train.
    fn is_trained(&self) -> bool {
        true
    }

    /// The text whose tokens [`AdapterMethod::create`] needs; empty: what the training prompts have in common.
    fn init_text(&self) -> Option<&str> {
        None
    }

    /// A fresh adapter. `init_ids` are the tokens of [`AdapterMethod::init_text`].
    fn create(&self, backbone: &dyn Backbone, seed: u64, init_ids: Option<&[u32]>) -> Result<Box<dyn Adapter>>;

    /// From PEFT's files of the type [`AdapterMethod::PEFT_TYPE`]. Takes what it understands; what is left is refused.
    fn read(_: &mut Keys, _: &mut Tensors, _: &dyn Backbone) -> Result<Box<dyn Adapter>> {
        Err(Error::internal(format!("adapters of the kind `{}` have no files", Self::KIND)))
    }

    /// Numbers that are trained. Layers that are named wrongly are found when the adapter is made.
    fn trainable(&self, backbone: BackboneShape) -> u64;

    /// Numbers that lie before or beside the frozen ones in one pass.
    fn applied(&self, backbone: BackboneShape) -> u64 {
        self.trainable(backbone)
    }

    /// Places that it takes up in a row, before the tokens.
    fn places(&self) -> usize {
        0
    }

    /// Numbers a token that a changed layer holds for a moment beside its result.
    fn working(&self, _backbone: BackboneShape) -> u64 {
        0
    }

    /// Whether the linear layer at `path` is changed, so that its input is kept for backward.
    fn changes(&self, _path: &str) -> bool {
        false
    }

    /// The option that memory grows with.
    fn size(&mut self) -> Option<(&'static str, &mut usize)> {
        None
    }
}

/// An option with a value that can't be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub key: &'static str,
    pub message: String,
}

impl Wrong {
    pub fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into() }
    }

    /// # Errors
    /// If `value` is 0.
    pub fn unless_positive(key: &'static str, value: usize) -> Result<(), Self> {
        if value > 0 { Ok(()) } else { Err(Self::new(key, format!("`{key}` must be at least 1"))) }
    }
}

/// The options of any method.
pub trait AdapterOptions: Debug + Send + Sync {
    fn kind(&self) -> &'static str;
    fn check(&self) -> Result<(), Wrong>;
    fn completed(&self, usual_targets: &[&str]) -> Arc<dyn AdapterOptions>;
    fn is_trained(&self) -> bool;
    fn init_text(&self) -> Option<&str>;
    fn create(&self, backbone: &dyn Backbone, seed: u64, init_ids: Option<&[u32]>) -> Result<Box<dyn Adapter>>;
    fn trainable(&self, backbone: BackboneShape) -> u64;
    fn applied(&self, backbone: BackboneShape) -> u64;
    fn places(&self) -> usize;
    fn working(&self, backbone: BackboneShape) -> u64;
    fn changes(&self, path: &str) -> bool;
    /// The option that memory grows with, and its value.
    fn size(&self) -> Option<(&'static str, usize)>;
    /// With another value of that option.
    fn with_size(&self, size: usize) -> Arc<dyn AdapterOptions>;
    /// The options as a table.
    fn to_json(&self) -> serde_json::Result<Value>;
}

impl<M: AdapterMethod> AdapterOptions for M {
    fn kind(&self) -> &'static str {
        M::KIND
    }

    fn check(&self) -> Result<(), Wrong> {
        AdapterMethod::check(self)
    }

    fn completed(&self, usual_targets: &[&str]) -> Arc<dyn AdapterOptions> {
        let mut options = self.clone();
        options.complete(usual_targets);
        Arc::new(options)
    }

    fn is_trained(&self) -> bool {
        AdapterMethod::is_trained(self)
    }

    fn init_text(&self) -> Option<&str> {
        AdapterMethod::init_text(self)
    }

    fn create(&self, backbone: &dyn Backbone, seed: u64, init_ids: Option<&[u32]>) -> Result<Box<dyn Adapter>> {
        if let Err(wrong) = AdapterMethod::check(self) {
            return Err(Error::input(wrong.message));
        }
        AdapterMethod::create(self, backbone, seed, init_ids)
    }

    fn trainable(&self, backbone: BackboneShape) -> u64 {
        AdapterMethod::trainable(self, backbone)
    }

    fn applied(&self, backbone: BackboneShape) -> u64 {
        AdapterMethod::applied(self, backbone)
    }

    fn places(&self) -> usize {
        AdapterMethod::places(self)
    }

    fn working(&self, backbone: BackboneShape) -> u64 {
        AdapterMethod::working(self, backbone)
    }

    fn changes(&self, path: &str) -> bool {
        AdapterMethod::changes(self, path)
    }

    fn size(&self) -> Option<(&'static str, usize)> {
        AdapterMethod::size(&mut self.clone()).map(|(key, value)| (key, *value))
    }

    fn with_size(&self, size: usize) -> Arc<dyn AdapterOptions> {
        let mut options = self.clone();
        if let Some((_, value)) = AdapterMethod::size(&mut options) {
            *value = size;
        }
        Arc::new(options)
    }

    fn to_json(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }
}

/// Options out of a table of a pipeline file.
type FromNode = fn(&Node) -> Result<Arc<dyn AdapterOptions>, Vec<Diagnostic>>;

/// An adapter out of PEFT's files.
type Read = fn(&mut Keys, &mut Tensors, &dyn Backbone) -> Result<Box<dyn Adapter>>;

/// A method as the registry has it.
pub struct AdapterKind {
    pub name: &'static str,
    pub title: &'static str,
    pub peft_type: Option<&'static str>,
    pub facts: &'static [&'static str],
    pub from_json: fn(Value) -> serde_json::Result<Arc<dyn AdapterOptions>>,
    /// The table is without `kind`.
    pub from_node: FromNode,
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    pub read: Read,
}

impl AdapterKind {
    pub const fn of<M: AdapterMethod>() -> Self {
        Self {
            name: M::KIND,
            title: M::TITLE,
            peft_type: M::PEFT_TYPE,
            facts: M::FACTS,
            from_json: |options| Ok(Arc::new(serde_json::from_value::<M>(options)?)),
            from_node: |node| Ok(Arc::new(config::from_node::<M>(node)?)),
            schema: M::json_schema,
            read: M::read,
        }
    }

    /// Names of the method's options.
    pub fn keys(&self) -> Vec<String> {
        let schema = (self.schema)(&mut SchemaGenerator::default());
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(|(key, _)| key.clone()).collect()
    }
}
