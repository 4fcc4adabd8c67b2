//! The reference of pipeline files: a section for each table, a row for each of its keys.

use serde_json::Value as Json;

use super::{
    json_shape::{Choice, Reader, Shape, Table},
    key_rows,
    page::{Page, link, one_line},
    sections::Place,
    type_words::words,
};
use crate::config::{COMMON_KEYS, PROFILE_KEYS};

const INTRODUCTION: &str = "\
Every key of every table of a pipeline file. [pipeline-files.md](pipeline-files.md) explains how tables, matrices, inputs and profiles
work together. A key that isn't **required** may be left out; one that isn't listed is an error.

`make reference` writes this page from the comments in the code, as they are in the JSON Schema that `emopipe schema` prints.";

/// What stands before the definitions, and what after them.
const FIRST: [&str; 4] = ["include", "pipeline", "axes", "params"];
const LAST: [&str; 3] = ["stages", "remote", "profile"];

/// The whole page, from the schema of pipeline files.
pub fn page(schema: &Json) -> String {
    let tables = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let definitions = tables.filter(|name| !FIRST.contains(name) && !LAST.contains(name));
    let sections: Vec<Section> = FIRST
        .into_iter()
        .chain(definitions)
        .chain(LAST)
        .map(|name| Section::new(name, &schema["properties"][name], &mut Reader::new(schema)))
        .collect();
    let mut page = Page::default();
    page.heading(1, "Reference of pipeline files");
    page.paragraph(INTRODUCTION);
    let contents = sections.iter().map(|section| format!("- {}", link(&section.heading, &section.heading)));
    page.paragraph(&contents.collect::<Vec<_>>().join("\n"));
    for section in &sections {
        page.heading(2, &section.heading);
        section.write(&mut page);
    }
    page.into_text()
}

/// What may stand at the top of a file.
struct Section {
    name: String,
    heading: String,
    description: String,
    shape: Shape,
    /// The kinds of stages, where it is about those.
    kinds: Vec<Table>,
}

impl Section {
    fn new(name: &str, schema: &Json, reader: &mut Reader) -> Self {
        let shape = reader.shape(schema);
        let heading = match &shape {
            Shape::Map(values) if **values != Shape::Any && name != "axes" => format!("`[{name}.NAME]`"),
            Shape::Map(_) | Shape::Table(_) => format!("`[{name}]`"),
            _ => format!("`{name}`"),
        };
        let kinds = ["oneOf", "anyOf"].iter().filter_map(|key| schema["additionalProperties"].get(*key)?.as_array());
        let kinds = kinds.flatten().filter(|_| name == "stages").map(|kind| reader.table(kind)).collect();
        Self { name: name.to_owned(), heading, description: reader.description(schema), shape, kinds }
    }

    fn write(&self, page: &mut Page) {
        let place = Place::new(&self.name, None);
        match (self.name.as_str(), &self.shape) {
            ("stages", _) => {
                page.paragraph(&sentence(&self.description));
                self.stages(page);
            }
            ("profile", Shape::Map(overlay)) => {
                page.paragraph(&sentence(&self.description));
                if let Shape::Table(overlay) = &**overlay {
                    body(page, 3, &place.below("NAME"), &only(overlay, |key| PROFILE_KEYS.contains(&key)));
                }
                page.paragraph("All other keys are the tables above, in which a profile may leave out every key.");
            }
            (_, Shape::Table(table)) => body(page, 3, &place, table),
            (_, Shape::Map(values)) if matches!(&**values, Shape::Table(_)) => {
                place.tables_in(&self.shape).iter().for_each(|(place, table)| body(page, 3, place, table));
            }
            _ => {
                page.paragraph(&sentence(&self.description));
                page.paragraph(&format!("Type: {}.", words(&self.shape, "table")));
                for (place, table) in place.tables_in(&self.shape) {
                    page.paragraph("A table has these keys:");
                    body(page, 3, &place, table);
                }
            }
        }
    }

    /// The keys that all kinds share, then a section for each kind.
    fn stages(&self, page: &mut Page) {
        let place = |kind: Option<&str>| Place::new("stages.NAME", kind);
        page.paragraph(
            "Every kind has these keys, and its own, which follow. Every value may be a string with `${...}`.",
        );
        if let Some(first) = self.kinds.first() {
            let mut common = undescribed(&only(first, |key| COMMON_KEYS.contains(&key)));
            common.keys.sort_by_key(|key| COMMON_KEYS.iter().position(|name| *name == key.name));
            if let Some(kind) = common.keys.first_mut() {
                let choice = |kind: &Table| Some(Choice { value: kind_of(kind)?, meaning: String::new() });
                kind.description = "What the stage does.".to_owned();
                kind.shape = Shape::Choice(self.kinds.iter().filter_map(choice).collect());
            }
            body(page, 3, &place(None), &common);
        }
        for kind in &self.kinds {
            let name = kind_of(kind);
            let name = name.as_ref().and_then(Json::as_str).unwrap_or_default();
            page.heading(3, &format!("`kind = \"{name}\"`"));
            body(page, 4, &place(Some(name)), &only(kind, |key| !COMMON_KEYS.contains(&key)));
        }
    }
}

/// A table's words and keys, then the tables inside it, with headings of this level.
fn body(page: &mut Page, level: usize, place: &Place, table: &Table) {
    page.paragraph(&sentence(&table.description));
    page.table(key_rows::HEADER, &key_rows::rows(place, table));
    for variant in &table.variants {
        page.heading(level, &place.variant_heading(variant));
        body(page, level + 1, place, &variant.table);
    }
    for key in &table.keys {
        for (place, inner) in place.of_key(&key.name).tables_in(&key.shape) {
            page.heading(level, &place.heading());
            body(page, level + 1, &place, inner);
        }
    }
}

fn only(table: &Table, is_wanted: impl Fn(&str) -> bool) -> Table {
    let mut table = table.clone();
    table.keys.retain(|key| is_wanted(&key.name));
    table
}

/// A table whose description has been shown.
fn undescribed(table: &Table) -> Table {
    Table { description: String::new(), ..table.clone() }
}

fn kind_of(table: &Table) -> Option<Json> {
    match &table.keys.iter().find(|key| key.name == "kind")?.shape {
        Shape::Choice(one) => one.first().map(|choice| choice.value.clone()),
        _ => None,
    }
}

/// A comment as a sentence.
fn sentence(text: &str) -> String {
    let text = one_line(text);
    if text.is_empty() || text.ends_with(['.', ':']) { text } else { format!("{text}.") }
}
