//! What a JSON Schema lets a value be, as plain data: references followed, `null` and `${...}` left out.

use serde_json::{Map, Value as Json};

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Any,
    /// `string`, `integer`, `number` or `boolean`.
    Scalar(String, Bounds),
    /// One of these words.
    Choice(Vec<Choice>),
    List(Box<Self>, Option<u64>),
    /// A table whose keys are names.
    Map(Box<Self>),
    Table(Table),
    Either(Vec<Self>),
    /// A table inside itself.
    Again,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Bounds {
    pub least: Option<Json>,
    pub most: Option<Json>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub value: Json,
    pub meaning: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    pub description: String,
    pub keys: Vec<Key>,
    /// Further keys that belong together, one of these groups.
    pub variants: Vec<Variant>,
}

/// Keys of a table that has the key `tag.0` with the value `tag.1`, or that simply come together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Variant {
    pub tag: Option<(String, Json)>,
    pub table: Table,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub name: String,
    pub required: bool,
    pub default: Option<Json>,
    pub description: String,
    pub shape: Shape,
}

/// Follows the references of one schema.
pub(super) struct Reader<'a> {
    definitions: Option<&'a Map<String, Json>>,
    /// Definitions that are being read.
    inside: Vec<String>,
}

const TEMPLATE: &str = "#/$defs/template";

impl<'a> Reader<'a> {
    pub fn new(root: &'a Json) -> Self {
        Self { definitions: root.get("$defs").and_then(Json::as_object), inside: Vec::new() }
    }

    pub fn shape(&mut self, schema: &Json) -> Shape {
        let target = schema.get("$ref").and_then(Json::as_str).map(str::to_owned);
        if let Some(target) = &target {
            if self.inside.contains(target) {
                return Shape::Again;
            }
            self.inside.push(target.clone());
        }
        let mut merged = self.merged(schema);
        if let Some(own) = self.definition(schema).and_then(|definition| definition.get("description")) {
            // What a type says of itself, not what a key says of its value.
            merged.insert("description".to_owned(), own.clone());
        }
        let shape = self.shape_of(&merged);
        if target.is_some() {
            self.inside.pop();
        }
        shape
    }

    /// The table that a schema describes; one without keys where it describes something else.
    pub fn table(&mut self, schema: &Json) -> Table {
        match self.shape(schema) {
            Shape::Table(table) => table,
            _ => Table { description: self.description(schema), ..Table::default() },
        }
    }

    /// What a schema says of itself, or what it refers to or has as its one choice.
    pub fn description(&self, schema: &Json) -> String {
        let merged = self.merged(schema);
        match &branches(&merged)[..] {
            [one] if !merged.contains_key("description") => self.description(one),
            _ => text(&merged, "description"),
        }
    }

    fn definition(&self, schema: &Json) -> Option<&'a Json> {
        let target = schema.get("$ref").and_then(Json::as_str);
        self.definitions?.get(target?.strip_prefix("#/$defs/")?)
    }

    /// A schema with what it refers to and what it is made up of; its own words win.
    fn merged(&self, schema: &Json) -> Map<String, Json> {
        let mut all = schema.as_object().cloned().unwrap_or_default();
        all.shift_remove("$ref");
        let mut parts: Vec<Json> = self.definition(schema).cloned().into_iter().collect();
        if let Some(Json::Array(more)) = all.shift_remove("allOf") {
            parts.extend(more);
        }
        for part in parts {
            for (key, value) in self.merged(&part) {
                match (all.get_mut(&key), value) {
                    (Some(Json::Object(own)), Json::Object(more)) if key == "properties" => {
                        more.into_iter().for_each(|(name, schema)| _ = own.entry(name).or_insert(schema));
                    }
                    (Some(Json::Array(own)), Json::Array(more)) if key == "required" => own.extend(more),
                    (Some(_), _) => {}
                    (None, value) => _ = all.insert(key, value),
                }
            }
        }
        all
    }

    fn shape_of(&mut self, schema: &Map<String, Json>) -> Shape {
        let branches = branches(schema);
        if !branches.is_empty() {
            let shapes: Vec<_> = branches.iter().map(|branch| self.shape(branch)).collect();
            return self.either(schema, &branches, shapes);
        }
        if let Some(value) = schema.get("const") {
            return Shape::Choice(vec![Choice { value: value.clone(), meaning: text(schema, "description") }]);
        }
        if let Some(Json::Array(values)) = schema.get("enum") {
            let choice = |value: &Json| Choice { value: value.clone(), meaning: String::new() };
            return Shape::Choice(values.iter().map(choice).collect());
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
            _ if schema.contains_key("properties") => vec!["object"],
            _ => return Shape::Any,
        };
        let mut shapes: Vec<_> =
            types.iter().filter(|name| **name != "null").map(|name| self.of_type(name, schema)).collect();
        if shapes.len() == 1 { shapes.remove(0) } else { Shape::Either(shapes) }
    }

    fn of_type(&mut self, name: &str, schema: &Map<String, Json>) -> Shape {
        match name {
            "object" if schema.contains_key("properties") => Shape::Table(self.own_table(schema)),
            "object" => {
                Shape::Map(Box::new(schema.get("additionalProperties").map_or(Shape::Any, |values| self.shape(values))))
            }
            "array" => {
                let items = schema.get("items").map_or(Shape::Any, |items| self.shape(items));
                let [least, most] = ["minItems", "maxItems"].map(|key| schema.get(key).and_then(Json::as_u64));
                Shape::List(Box::new(items), least.filter(|_| least == most))
            }
            _ => {
                // That there are no negative counts goes without saying, as does the size of machine words.
                let least = schema.get("minimum").filter(|n| n.as_f64() != Some(0.0)).cloned();
                let most = schema.get("maximum").filter(|_| !schema.contains_key("format")).cloned();
                Shape::Scalar(name.to_owned(), Bounds { least, most })
            }
        }
    }

    /// The keys of a schema's own, without those of its branches.
    fn own_table(&mut self, schema: &Map<String, Json>) -> Table {
        let required = schema.get("required").and_then(Json::as_array);
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|n| n == name));
        let properties = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
        let keys = properties.map(|(name, property)| Key {
            name: name.clone(),
            required: is_required(name),
            default: self.default_of(property),
            description: self.description(property),
            shape: self.shape(property),
        });
        Table { keys: keys.collect(), description: text(schema, "description"), variants: Vec::new() }
    }

    /// A key's default, which may stand beside the alternative `${...}`.
    fn default_of(&self, property: &Json) -> Option<Json> {
        let property = self.merged(property);
        let beside = branches(&property).into_iter().find_map(|branch| branch.get("default").cloned());
        property.get("default").cloned().or(beside).filter(|default| !default.is_null())
    }

    fn either(&mut self, schema: &Map<String, Json>, branches: &[Json], mut shapes: Vec<Shape>) -> Shape {
        if shapes.iter().all(|shape| matches!(shape, Shape::Choice(_))) {
            let choices = shapes.into_iter().flat_map(|shape| match shape {
                Shape::Choice(choices) => choices,
                _ => Vec::new(),
            });
            return Shape::Choice(choices.collect());
        }
        let in_common = schema.contains_key("properties");
        if shapes.len() == 1 && !in_common {
            return shapes.remove(0);
        }
        if !shapes.iter().all(|shape| matches!(shape, Shape::Table(_))) {
            return Shape::Either(shapes);
        }
        let mut table = self.own_table(schema);
        table.variants =
            branches.iter().zip(shapes).filter_map(|(branch, shape)| self.variant(branch, shape)).collect();
        Shape::Table(table)
    }

    /// A branch's table, with the key that tells it from the others apart.
    fn variant(&self, branch: &Json, shape: Shape) -> Option<Variant> {
        let Shape::Table(mut table) = shape else { return None };
        table.description = self.description(branch);
        let tag = table
            .keys
            .iter()
            .position(|key| key.required && matches!(&key.shape, Shape::Choice(one) if one.len() == 1));
        let tag = tag.and_then(|at| match table.keys.remove(at) {
            Key { name, shape: Shape::Choice(mut one), .. } => Some((name, one.remove(0).value)),
            _ => None,
        });
        Some(Variant { tag, table })
    }
}

/// The alternatives of a schema that a person chooses from.
fn branches(schema: &Map<String, Json>) -> Vec<Json> {
    let all = ["oneOf", "anyOf"].iter().filter_map(|key| schema.get(*key)?.as_array()).flatten();
    let is_choice = |branch: &&Json| {
        branch.get("type").and_then(Json::as_str) != Some("null")
            && branch.get("$ref").and_then(Json::as_str) != Some(TEMPLATE)
    };
    all.filter(is_choice).cloned().collect()
}

fn text(schema: &Map<String, Json>, key: &str) -> String {
    schema.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}
