//! The JSON Schema of a pipeline file, for editors.
//!
//! The schemas of definitions and stage kinds come from their serde types. Two things differ between such a type and
//! what may stand in a file: in a stage any value may be a string with `${...}`, and in a profile every key is
//! optional. So the types' schemas are copied with these changes where needed.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json, json};

use super::{
    Node, ResourceRequest, Value, Vocabulary,
    load::TABLES,
    pipeline::{PROFILE_KEYS, PipelineTable},
    remote_table::RemoteTable,
    stage::COMMON_KEYS,
};

const DEFS: &str = "#/$defs/";

/// JSON Schema (draft 2020-12) of a pipeline file whose definitions and stage kinds are those of `vocabulary`.
pub fn json_schema(vocabulary: &Vocabulary) -> Json {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let pipeline = generator.subschema_for::<PipelineTable>().to_value();
    let remote = generator.subschema_for::<RemoteTable>().to_value();
    let resources = generator.subschema_for::<ResourceRequest>().to_value();
    let mut schemas = |entries: &[super::Entry]| -> Vec<(&'static str, Json)> {
        entries.iter().map(|entry| (entry.name, (entry.schema)(&mut generator).to_value())).collect()
    };
    let definitions = schemas(&vocabulary.definitions);
    let kinds = schemas(&vocabulary.stage_kinds);
    let mut copies = Copies { source: generator.take_definitions(true), made: Map::new() };
    copies.made.insert("template".into(), json!({ "type": "string", "pattern": "\\$\\{" }));

    let mut full = Map::new();
    full.insert("include".into(), include());
    full.extend(tables([&pipeline, &remote], &resources, &definitions, &kinds, false, &mut copies));
    let mut overlay = Map::new();
    for key in PROFILE_KEYS {
        let schema = match key {
            "include" => include(),
            "inherits" => text("The profile that this one is laid over"),
            _ => text("What the profile is for, in a sentence"),
        };
        overlay.insert(key.into(), schema);
    }
    overlay.extend(tables([&pipeline, &remote], &resources, &definitions, &kinds, true, &mut copies));
    full.insert("profile".into(), map_of(object(overlay), "Overlays, chosen with `--profile NAME`"));

    let mut root = Map::new();
    root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".into(), json!("emopipe pipeline"));
    if let Json::Object(object) = object(full) {
        root.extend(object);
    }
    root.insert("$defs".into(), Json::Object(copies.made));
    Json::Object(root)
}

fn include() -> Json {
    json!({
        "description": "Files to merge with this one, relative to it; `*` stands for any part of a name",
        "type": "array",
        "items": { "anyOf": [{ "type": "string" }, {
            "type": "object",
            "properties": {
                "path": text("The file, or a pattern"),
                "stages": { "type": "boolean", "default": false, "description": "Whether the files may bring stages" },
            },
            "required": ["path"],
            "additionalProperties": false,
        }] },
    })
}

fn text(description: &str) -> Json {
    json!({ "type": "string", "description": description })
}

fn object(properties: Map<String, Json>) -> Json {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn map_of(values: Json, description: &str) -> Json {
    json!({ "description": description, "type": "object", "additionalProperties": values })
}

/// The tables that a file and, with `partial`, a profile can have.
fn tables(
    [pipeline, remote]: [&Json; 2],
    resources: &Json,
    definitions: &[(&'static str, Json)],
    kinds: &[(&'static str, Json)],
    partial: bool,
    copies: &mut Copies,
) -> Map<String, Json> {
    let plain = Mode { partial, templates: false };
    let mut tables = Map::new();
    for table in TABLES {
        let schema = match table {
            "pipeline" => copies.adapt(pipeline, plain),
            "remote" => copies.adapt(remote, plain),
            "axes" => map_of(list(), "Lists that `\"all\"` in a matrix stands for"),
            "params" => json!({ "description": "Values for `${params.NAME}`", "type": "object" }),
            _ => map_of(
                stages(resources, kinds, partial, copies),
                "What is done; with a matrix, once for each combination",
            ),
        };
        tables.insert(table.into(), schema);
    }
    for (name, schema) in definitions {
        let schema = copies.adapt(schema, plain);
        tables.insert((*name).into(), map_of(schema, &format!("Definitions of {name}s by name")));
    }
    tables
}

fn scalar() -> Json {
    json!({ "type": ["string", "integer", "number", "boolean"] })
}

fn list() -> Json {
    json!({ "type": "array", "items": scalar(), "uniqueItems": true })
}

/// One schema for each stage kind, told apart by `kind`.
fn stages(resources: &Json, kinds: &[(&'static str, Json)], partial: bool, copies: &mut Copies) -> Json {
    let mode = Mode { partial, templates: true };
    let mut common = Map::new();
    for key in COMMON_KEYS {
        let schema = match key {
            "matrix" => map_of(
                json!({ "anyOf": [{ "const": "all" }, list()] }),
                "Axes and their values; the stage is done once for each combination",
            ),
            "exclude" => json!({
                "description": "Combinations of the matrix to leave out",
                "type": "array",
                "items": map_of(json!({ "anyOf": [scalar(), list()] }), "Axes and values"),
            }),
            "inputs" => map_of(
                json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }),
                "Roles, and the stages that fill them: `stage` or `stage[axis=value]`",
            ),
            "resources" => copies.adapt(resources, mode),
            "export" => json!({
                "description": "Folder, relative to the pipeline's root, that gets the files of the result",
                "type": "string",
            }),
            // `kind` itself differs from branch to branch.
            _ => continue,
        };
        common.insert(key.into(), schema);
    }
    let branches = kinds.iter().map(|(name, schema)| stage(name, schema, &common, mode, copies));
    let branches: Vec<_> = branches.collect();
    if partial { json!({ "anyOf": branches }) } else { json!({ "oneOf": branches }) }
}

fn stage(kind: &str, own: &Json, common: &Map<String, Json>, mode: Mode, copies: &mut Copies) -> Json {
    let own = copies.source_of(own).clone();
    let Json::Object(mut schema) = copies.adapt(&own, mode) else { return json!(true) };
    let mut keys = common.clone();
    keys.insert("kind".into(), json!({ "const": kind }));
    let mut required = vec![json!("kind")];
    if mode.partial {
        required.clear();
    }
    let branches = ["oneOf", "anyOf", "allOf"].iter().any(|key| schema.contains_key(*key));
    if branches {
        // The kind's own schema must not refuse the common keys; what neither knows is refused outside.
        open(&mut schema, copies);
        let mut stage =
            json!({ "type": "object", "properties": keys, "allOf": [schema], "unevaluatedProperties": false });
        if !required.is_empty() {
            stage["required"] = Json::Array(required);
        }
        return stage;
    }
    if let Some(Json::Object(properties)) = schema.remove("properties") {
        keys.extend(properties);
    }
    if let Some(Json::Array(own)) = schema.remove("required") {
        required.extend(own);
    }
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Json::Object(keys));
    if !required.is_empty() {
        schema.insert("required".into(), Json::Array(required));
    }
    schema.entry("additionalProperties").or_insert(json!(false));
    Json::Object(schema)
}

/// Lets further keys pass, in the schema itself and in its branches, which are copied out of the definitions.
fn open(schema: &mut Map<String, Json>, copies: &Copies) {
    schema.shift_remove("additionalProperties");
    for key in ["oneOf", "anyOf", "allOf"] {
        for branch in schema.get_mut(key).and_then(Json::as_array_mut).into_iter().flatten() {
            *branch = copies.made_of(branch).clone();
            if let Json::Object(branch) = branch {
                open(branch, copies);
            }
        }
    }
}

/// How the schema of a type is changed.
#[derive(Clone, Copy)]
struct Mode {
    /// No key is needed.
    partial: bool,
    /// Every value may be a string with `${...}`.
    templates: bool,
}

impl Mode {
    fn suffix(self) -> &'static str {
        match (self.partial, self.templates) {
            (false, false) => "",
            (true, false) => ".partial",
            (false, true) => ".stage",
            (true, true) => ".stage.partial",
        }
    }
}

/// Changed copies of schemas, each made once.
struct Copies {
    source: Map<String, Json>,
    made: Map<String, Json>,
}

impl Copies {
    fn source_of<'a>(&'a self, schema: &'a Json) -> &'a Json {
        resolve(schema, &self.source)
    }

    fn made_of<'a>(&'a self, schema: &'a Json) -> &'a Json {
        resolve(schema, &self.made)
    }

    fn adapt(&mut self, schema: &Json, mode: Mode) -> Json {
        match schema {
            Json::Object(object) => Json::Object(self.adapt_object(object, mode)),
            Json::Array(items) => Json::Array(items.iter().map(|item| self.adapt(item, mode)).collect()),
            other => other.clone(),
        }
    }

    fn adapt_object(&mut self, object: &Map<String, Json>, mode: Mode) -> Map<String, Json> {
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
    fn value(&mut self, schema: &Json, mode: Mode) -> Json {
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
    fn reference(&mut self, target: &str, mode: Mode) -> String {
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

fn resolve<'a>(schema: &'a Json, definitions: &'a Map<String, Json>) -> &'a Json {
    let name = schema.get("$ref").and_then(Json::as_str).and_then(|target| target.strip_prefix(DEFS));
    name.and_then(|name| definitions.get(name)).unwrap_or(schema)
}

/// The keys of `node` that a schema doesn't know, as dotted paths: what holds a serde type and its schema in step when
/// `node` is an example with every key.
pub fn unknown_to_schema(schema: &Json, node: &Node) -> Vec<String> {
    let empty = Map::new();
    let definitions = schema.get("$defs").and_then(Json::as_object).unwrap_or(&empty);
    let mut unknown = Vec::new();
    find_unknown(&[schema], definitions, node, String::new(), &mut unknown);
    unknown
}

fn find_unknown(
    schemas: &[&Json],
    definitions: &Map<String, Json>,
    node: &Node,
    path: String,
    unknown: &mut Vec<String>,
) {
    let mut branches = Vec::new();
    schemas.iter().for_each(|schema| flatten(schema, definitions, node, &mut branches));
    if branches.iter().any(|branch| accepts_anything(branch, node)) {
        return;
    }
    match &node.value {
        Value::Table(table) => {
            for (name, (_, child)) in table {
                let inner: Vec<_> = branches
                    .iter()
                    .filter_map(|b| b.get("properties").and_then(|p| p.get(name)).or(b.get("additionalProperties")))
                    .filter(|schema| **schema != json!(false))
                    .collect();
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if inner.is_empty() {
                    unknown.push(path);
                } else {
                    find_unknown(&inner, definitions, child, path, unknown);
                }
            }
        }
        Value::Array(items) => {
            let inner: Vec<_> = branches.iter().filter_map(|b| b.get("items")).collect();
            for (i, item) in items.iter().enumerate().filter(|_| !inner.is_empty()) {
                find_unknown(&inner, definitions, item, format!("{path}.{i}"), unknown);
            }
        }
        _ => {}
    }
}

/// All the schemas that can apply to `node`, out of references and branches.
fn flatten<'a>(schema: &'a Json, definitions: &'a Map<String, Json>, node: &Node, branches: &mut Vec<&'a Json>) {
    let schema = resolve(schema, definitions);
    let excluded = schema.get("properties").and_then(Json::as_object).into_iter().flatten().any(|(name, property)| {
        // A tag with another value: this branch is about something else.
        let tag = property.get("const").and_then(Json::as_str);
        let given = node.as_table().and_then(|table| table.get(name)).and_then(|(_, value)| value.as_str());
        matches!((tag, given), (Some(tag), Some(given)) if tag != given)
    });
    if excluded {
        return;
    }
    branches.push(schema);
    for key in ["oneOf", "anyOf", "allOf"] {
        for branch in schema.get(key).and_then(Json::as_array).into_iter().flatten() {
            flatten(branch, definitions, node, branches);
        }
    }
}

fn accepts_anything(schema: &Json, node: &Node) -> bool {
    match schema {
        Json::Bool(accepts) => *accepts,
        Json::Object(object) => {
            let speaks = |keys: &[&str]| keys.iter().any(|key| object.contains_key(*key));
            let is_table = object.get("type") == Some(&json!("object")) && node.as_table().is_some();
            let restricts = speaks(&[
                "properties",
                "additionalProperties",
                "unevaluatedProperties",
                "oneOf",
                "anyOf",
                "allOf",
                "$ref",
            ]);
            !restricts && (is_table || !speaks(&["type", "enum", "const", "items", "not"]))
        }
        _ => false,
    }
}
