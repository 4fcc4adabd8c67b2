//! The JSON Schema of a pipeline file, for editors.
//!
//! The schemas of definitions and stage kinds come from their serde types. Two things differ between such a type and
//! what may stand in a file: in a stage any value may be a string with `${...}`, and in a profile every key is
//! optional. So the types' schemas are copied with these changes where needed.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json, json};

use super::{
    kind_vocabulary::{Entry, Vocabulary},
    node::Node,
    pipeline::{PROFILE_KEYS, PipelineTable},
    remote_table::RemoteTable,
    schema_check::find_unknown,
    schema_copies::{Copies, Mode},
    stage_keys::{COMMON_KEYS, ResourceRequest},
    top_level::TABLES,
};

/// JSON Schema (draft 2020-12) of a pipeline file whose definitions and stage kinds are those of `vocabulary`.
pub fn json_schema(vocabulary: &Vocabulary) -> Json {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let pipeline = generator.subschema_for::<PipelineTable>().to_value();
    let remote = generator.subschema_for::<RemoteTable>().to_value();
    let resources = generator.subschema_for::<ResourceRequest>().to_value();
    let mut schemas = |entries: &[Entry]| -> Vec<(&'static str, Json)> {
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

/// The keys of `node` that a schema doesn't know, as dotted paths: what holds a serde type and its schema in step when
/// `node` is an example with every key.
pub fn unknown_to_schema(schema: &Json, node: &Node) -> Vec<String> {
    let empty = Map::new();
    let definitions = schema.get("$defs").and_then(Json::as_object).unwrap_or(&empty);
    let mut unknown = Vec::new();
    find_unknown(&[schema], definitions, node, String::new(), &mut unknown);
    unknown
}
