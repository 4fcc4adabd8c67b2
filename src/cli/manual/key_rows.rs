//! A row for each key of a table: type, default, meaning.

use serde_json::Value as Json;

use super::{
    json_shape::{Choice, Key, Shape, Table},
    page::{link, one_line},
    sections::Place,
    stated_default,
    type_words::{self, words},
};

pub(super) const HEADER: [&str; 4] = ["key", "type", "default", "meaning"];

const REQUIRED: &str = "**required**";

/// The rows of a table's own keys, that which decides between its variants first.
pub(super) fn rows(place: &Place, table: &Table) -> Vec<[String; 4]> {
    let keys = table.keys.iter().map(|key| row(place, key));
    tag(place, table).into_iter().chain(keys).collect()
}

fn row(place: &Place, key: &Key) -> [String; 4] {
    let section = place.of_key(&key.name).tables_in(&key.shape).first().map(|(place, _)| place.heading());
    let table = section.map_or_else(|| "table".to_owned(), |heading| link("table", &heading));
    let (meaning, stated) = stated_default::split(&key.description);
    [format!("`{}`", key.name), words(&key.shape, &table), default(key, stated), meaning + &choices(&key.shape)]
}

/// The key whose value says which others there are.
fn tag(place: &Place, table: &Table) -> Option<[String; 4]> {
    let tagged = || table.variants.iter().filter_map(|variant| Some((variant, variant.tag.as_ref()?)));
    let (_, (name, _)) = tagged().next()?;
    let links = tagged().map(|(variant, (_, value))| link(&type_words::value(value), &place.variant_heading(variant)));
    let links = links.collect::<Vec<_>>().join(", ");
    let meaning = "Decides which other keys there are.".to_owned();
    Some([format!("`{name}`"), format!("one of {links}"), REQUIRED.to_owned(), meaning])
}

/// What the words to choose from mean.
fn choices(shape: &Shape) -> String {
    match shape {
        Shape::List(inner, _) | Shape::Map(inner) => choices(inner),
        Shape::Choice(several) => {
            let explained = several.iter().filter(|choice| several.len() > 1 && !choice.meaning.is_empty());
            let line =
                |Choice { value, meaning }: &Choice| format!("<br>{}: {}", type_words::value(value), one_line(meaning));
            explained.map(line).collect()
        }
        _ => String::new(),
    }
}

/// The default of the schema, or else that which the comment states. A table's is in the rows of its keys.
fn default(key: &Key, stated: Option<String>) -> String {
    match (&key.default, stated) {
        _ if key.required => REQUIRED.to_owned(),
        // Words say more than that there is nothing.
        (Some(Json::Array(none)), Some(stated)) if none.is_empty() => stated,
        (Some(Json::Object(_)), stated) => stated.unwrap_or_default(),
        (Some(default), _) => type_words::value(default),
        // A value, or words such as `all cores`.
        (None, Some(stated)) if serde_json::from_str::<Json>(&stated).is_ok() => format!("`{stated}`"),
        (None, stated) => stated.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::json_shape::Reader, *};
    use crate::{config, stages};

    /// Every key inside a value.
    fn keys_of(shape: &Shape) -> Vec<Key> {
        match shape {
            Shape::List(inner, _) | Shape::Map(inner) => keys_of(inner),
            Shape::Either(shapes) => shapes.iter().flat_map(keys_of).collect(),
            Shape::Table(table) => {
                let inner = table.keys.iter().flat_map(|key| keys_of(&key.shape));
                let variants = table.variants.iter().flat_map(|variant| keys_of(&Shape::Table(variant.table.clone())));
                table.keys.iter().cloned().chain(inner).chain(variants).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_comment_and_a_schema_state_the_same_default() {
        let schema = config::json_schema(&stages::vocabulary());
        // 32 and 32.0 are one number.
        let plain = |text: &str| {
            let text = text.replace(['`', '"'], "");
            text.parse().map_or(text, |number: f64| number.to_string())
        };
        let mut compared = 0;
        for key in keys_of(&Reader::new(&schema).shape(&schema)) {
            let (Some(default), (_, Some(stated))) = (&key.default, stated_default::split(&key.description)) else {
                continue;
            };
            if !matches!(default, Json::Array(_) | Json::Object(_)) {
                assert_eq!(plain(&stated), plain(&type_words::value(default)), "of the key `{}`", key.name);
                compared += 1;
            }
        }
        assert!(compared > 3, "{compared} compared");
    }

    fn of(properties: Json) -> Vec<[String; 4]> {
        let schema = json!({ "type": "object", "properties": properties, "required": ["must"] });
        rows(&Place::new("t", None), &Reader::new(&schema).table(&schema))
    }

    #[test]
    fn a_row_has_type_default_and_meaning() {
        let found = of(json!({
            "must": { "type": "string", "description": "A name." },
            "schema": { "type": ["integer", "null"], "default": 3, "description": "Steps\nto take (default 3)." },
            "comment": { "type": ["number", "null"], "description": "Rate (default 1e-8)." },
            "words": { "type": ["integer", "null"], "description": "Cores (default: all)." },
            "some": { "description": "Which.", "default": "a", "oneOf": [
                { "const": "a", "description": "The first." }, { "const": "b" },
            ] },
        }));
        let row = |cells: [&str; 4]| cells.map(str::to_owned);
        assert_eq!(found[0], row(["`must`", "string", "**required**", "A name."]));
        assert_eq!(found[1], row(["`schema`", "integer", "`3`", "Steps to take."]));
        assert_eq!(found[2], row(["`comment`", "number", "`1e-8`", "Rate."]));
        assert_eq!(found[3], row(["`words`", "integer", "all", "Cores."]));
        assert_eq!(found[4], row(["`some`", "one of `\"a\"`, `\"b\"`", "`\"a\"`", "Which.<br>`\"a\"`: The first."]));
    }

    #[test]
    fn tables_are_linked_to_their_sections() {
        let found = of(json!({
            "list": { "type": "array", "items": { "type": "object", "properties": { "a": { "type": "string", "description": "A." } } } },
            "small": { "type": "object", "properties": { "a": { "type": "integer" }, "b": { "type": "integer" } } },
            "adapter": { "oneOf": [
                { "type": "object", "properties": { "kind": { "const": "x" }, "a": { "type": "integer" } }, "required": ["kind"] },
                { "type": "object", "properties": { "kind": { "const": "y" } }, "required": ["kind"] },
            ] },
        }));
        assert_eq!(found[0][1], "list of [tables](#tlist)");
        assert_eq!(found[1][1], "table of integers by `a`, `b`");
        assert_eq!(found[2][1], "[table](#tadapter)");
    }
}
