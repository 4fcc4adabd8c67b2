//! Changed copies of schemas: with templates for values, or with no key needed.

use serde_json::{Map, Value as Json, json};

pub(super) const DEFS: &str = "#/$defs/";

/// How the schema of a type is changed.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    /// No key is needed.
    pub partial: bool,
    /// Every value may be a string with `${...}`.
    pub templates: bool,
}

impl Mode {
    pub fn suffix(self) -> &'static str {
        match (self.partial, self.templates) {
            (false, false) => "",
            (true, false) => ".partial",
            (false, true) => ".stage",
            (true, true) => ".stage.partial",
        }
    }
}

/// Changed copies of schemas, each made once.
pub(super) struct Copies {
    pub source: Map<String, Json>,
    pub made: Map<String, Json>,
}

impl Copies {
    pub fn source_of<'a>(&'a self, schema: &'a Json) -> &'a Json {
        resolve(schema, &self.source)
    }

    pub fn made_of<'a>(&'a self, schema: &'a Json) -> &'a Json {
        resolve(schema, &self.made)
    }

    pub fn adapt(&mut self, schema: &Json, mode: Mode) -> Json {
        match schema {
            Json::Object(object) => Json::Object(self.adapt_object(object, mode)),
            Json::Array(items) => Json::Array(items.iter().map(|item| self.adapt(item, mode)).collect()),
            other => other.clone(),
        }
    }

    pub fn adapt_object(&mut self, object: &Map<String, Json>, mode: Mode) -> Map<String, Json> {
        let mut copy = Map::new();
        for (key, value) in object {
            match (key.as_str(), value) {
                ("required", _) if mode.partial => {}
                ("$ref", Json::String(target)) => {
                    copy.insert(key.clone(), self.reference(target, mode).into());
                }
                ("enum" | "const" | "default" | "examples", _) => {
                    copy.insert(key.clone(), value.clone());
                }
                ("properties", Json::Object(properties)) => {
                    let adapted = properties.iter().map(|(name, schema)| (name.clone(), self.value(schema, mode)));
                    copy.insert(key.clone(), Json::Object(adapted.collect()));
                }
                ("items" | "additionalProperties", Json::Object(_)) => {
                    copy.insert(key.clone(), self.value(value, mode));
                }
                // Without its required keys a table can fit several branches.
                ("oneOf", _) if mode.partial => {
                    copy.insert("anyOf".into(), self.adapt(value, mode));
                }
                _ => {
                    copy.insert(key.clone(), self.adapt(value, mode));
                }
            }
        }
        copy
    }

    /// The schema of a value inside a table or list.
    pub fn value(&mut self, schema: &Json, mode: Mode) -> Json {
        let adapted = self.adapt(schema, mode);
        let any_string = adapted.get("type") == Some(&json!("string"))
            && !["enum", "const", "pattern", "format", "minLength", "maxLength"]
                .iter()
                .any(|k| adapted.get(k).is_some());
        let anything = adapted == json!(true) || adapted == json!({}) || adapted.get("const").is_some();
        if !mode.templates || any_string || anything {
            return adapted;
        }
        let mut wrapped = json!({ "anyOf": [adapted, { "$ref": format!("{DEFS}template") }] });
        if let Some(description) = schema.get("description") {
            wrapped["description"] = description.clone();
        }
        wrapped
    }

    /// The reference to the changed copy of a definition.
    pub fn reference(&mut self, target: &str, mode: Mode) -> String {
        let Some(name) = target.strip_prefix(DEFS) else { return target.to_owned() };
        let copied = format!("{name}{}", mode.suffix());
        if !self.made.contains_key(&copied)
            && let Some(schema) = self.source.get(name).cloned()
        {
            // The place is taken first, so that a type that contains itself comes to an end.
            self.made.insert(copied.clone(), Json::Null);
            let schema = self.adapt(&schema, mode);
            self.made.insert(copied.clone(), schema);
        }
        format!("{DEFS}{copied}")
    }
}

pub(super) fn resolve<'a>(schema: &'a Json, definitions: &'a Map<String, Json>) -> &'a Json {
    let name = schema.get("$ref").and_then(Json::as_str).and_then(|target| target.strip_prefix(DEFS));
    name.and_then(|name| definitions.get(name)).unwrap_or(schema)
}
