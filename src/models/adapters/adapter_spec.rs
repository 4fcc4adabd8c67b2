//! An adapter's method with its options: plain data, written as a table with `kind` everywhere.

use std::{borrow::Cow, ops::Deref, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};

use super::{
    adapter_method::{AdapterMethod, AdapterOptions},
    adapter_registry::{METHODS, kind},
};

/// What is trained on top of a backbone: a method, and its options.
#[derive(Debug, Clone)]
pub struct AdapterSpec(Arc<dyn AdapterOptions>);

impl AdapterSpec {
    pub(super) fn new(options: Arc<dyn AdapterOptions>) -> Self {
        Self(options)
    }

    /// With what follows from the backbone's family, whose `usual_targets` are the layers that are usually changed.
    pub fn completed(&self, usual_targets: &[&str]) -> Self {
        Self(self.0.completed(usual_targets))
    }

    /// With another value of the option that memory grows with.
    pub fn with_size(&self, size: usize) -> Self {
        Self(self.0.with_size(size))
    }

    /// What summaries call that which is trained, with or without a classification head: `lora`, `lora+head`, `head`, ...
    pub fn trained_name(&self, head: bool) -> String {
        match (self.is_trained(), head) {
            (_, false) => self.kind().to_owned(),
            (false, true) => "head".to_owned(),
            (true, true) => format!("{}+head", self.kind()),
        }
    }
}

impl<M: AdapterMethod> From<M> for AdapterSpec {
    fn from(options: M) -> Self {
        Self(Arc::new(options))
    }
}

impl Deref for AdapterSpec {
    type Target = dyn AdapterOptions;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref()
    }
}

impl PartialEq for AdapterSpec {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.to_json().ok() == other.to_json().ok()
    }
}

impl Serialize for AdapterSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = Map::from_iter([("kind".to_owned(), json!(self.kind()))]);
        if let Value::Object(options) = self.to_json().map_err(serde::ser::Error::custom)? {
            table.extend(options);
        }
        table.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AdapterSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Map::deserialize(deserializer)?;
        let name = table.shift_remove("kind").ok_or_else(|| de::Error::missing_field("kind"))?;
        let method = name.as_str().and_then(kind);
        let method = method.ok_or_else(|| de::Error::custom(format!("there is no adapter of the kind {name}")))?;
        (method.from_json)(Value::Object(table)).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for AdapterSpec {
    fn schema_name() -> Cow<'static, str> {
        "Adapter".into()
    }

    /// One branch a method, told apart by `kind`.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let branches = METHODS.iter().map(|method| {
            let mut branch = (method.schema)(generator);
            let own = branch.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            let tag = ("kind".to_owned(), json!({ "const": method.name }));
            branch.insert("properties".to_owned(), Value::Object([tag].into_iter().chain(own).collect()));
            branch.insert("required".to_owned(), json!(["kind"]));
            branch.insert("title".to_owned(), json!(method.title));
            branch.to_value()
        });
        let branches: Vec<Value> = branches.collect();
        schemars::json_schema!({ "oneOf": branches })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_strict_and_round_trip() {
        let parse = |v: Value| serde_json::from_value::<AdapterSpec>(v);
        for spec in [
            json!({ "kind": "none" }),
            json!({ "kind": "lora", "rank": 8, "alpha": 16.0, "dropout": 0.1, "target_modules": ["q_proj"] }),
            json!({ "kind": "ptuning2", "virtual_tokens": 4, "init": "text", "init_text": "x" }),
        ] {
            assert_eq!(serde_json::to_value(parse(spec.clone()).unwrap()).unwrap(), spec);
            let mut typo = spec;
            typo["rnak"] = json!(1);
            assert!(parse(typo).unwrap_err().to_string().contains("rnak"));
        }
        let text = parse(json!({ "kind": "ptuning2", "init": "text", "init_text": "x" })).unwrap();
        assert_eq!(text.init_text(), Some("x"));
        assert!(parse(json!({ "kind": "lorra" })).unwrap_err().to_string().contains("lorra"));
    }

    #[test]
    fn every_method_has_defaults_for_all_its_options() {
        for method in METHODS {
            let spec: AdapterSpec = serde_json::from_value(json!({ "kind": method.name })).unwrap();
            let spec = spec.completed(&["q_proj"]);
            assert_eq!(spec.kind(), method.name);
            assert_eq!(spec.check(), Ok(()), "{}", method.name);
            let keys = method.keys();
            assert!(method.facts.iter().all(|fact| keys.iter().any(|key| key == fact)), "{}", method.name);
            if let Some((key, size)) = spec.size() {
                assert!(keys.iter().any(|k| k == key));
                assert_eq!(spec.with_size(size / 2).size(), Some((key, size / 2)));
            }
        }
    }

    #[test]
    fn summaries_name_what_is_trained() {
        let name = |kind: &str, head| {
            serde_json::from_value::<AdapterSpec>(json!({ "kind": kind })).unwrap().trained_name(head)
        };
        assert_eq!(
            (name("none", true), name("lora", false), name("lora", true)),
            ("head".into(), "lora".into(), "lora+head".into())
        );
    }
}
