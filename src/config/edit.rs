//! Changes to pipeline files that keep the author's comments and layout.

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::base::error::{Error, Result};

/// TOML with one string set. `key_path` names tables by key and elements of lists by number; a last key that isn't there yet
/// is added.
///
/// # Errors
/// If it isn't TOML, or has no table at the path.
pub fn with_string(text: &str, key_path: &[&str], value: &str) -> Result<String> {
    let mut document: DocumentMut = text.parse().map_err(Error::input)?;
    let Some((last, tables)) = key_path.split_last() else { return Err(Error::internal("no key to set")) };
    let missing = |depth: usize| Error::input(format!("there is no table `{}`", key_path[..=depth].join(".")));
    let mut place = Place::Table(document.as_table_mut());
    for (depth, key) in tables.iter().enumerate() {
        place = place.child(key).ok_or_else(|| missing(depth))?;
    }
    let table: &mut dyn TableLike = match place {
        Place::Table(table) => table,
        Place::Inline(table) => {
            if !table.contains_key(last) {
                add_inline(table, last, value);
                return Ok(document.to_string());
            }
            table
        }
        Place::Array(_) | Place::Tables(_) => return Err(missing(tables.len().saturating_sub(1))),
    };
    match table.get_mut(last) {
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = Value::from(value);
            *old.decor_mut() = decor;
        }
        Some(_) => return Err(Error::input(format!("`{}` is a table, not a string", key_path.join(".")))),
        None => {
            table.insert(last, toml_edit::value(value));
        }
    }
    Ok(document.to_string())
}

/// Adds a key to `{ ... }`; the blank before the brace stays before the brace.
fn add_inline(table: &mut InlineTable, key: &str, value: &str) {
    let mut value = Value::from(value);
    if let Some((_, last)) = table.iter_mut().last() {
        let suffix = last.decor().suffix().cloned().unwrap_or_default();
        last.decor_mut().set_suffix("");
        value.decor_mut().set_prefix(" ");
        value.decor_mut().set_suffix(suffix);
    }
    table.insert(key, value);
}

/// Something that a path can lead through.
enum Place<'a> {
    Table(&'a mut Table),
    Inline(&'a mut InlineTable),
    Array(&'a mut toml_edit::Array),
    Tables(&'a mut toml_edit::ArrayOfTables),
}

impl<'a> Place<'a> {
    fn child(self, key: &str) -> Option<Place<'a>> {
        match self {
            Self::Table(table) => match table.get_mut(key)? {
                Item::Table(table) => Some(Self::Table(table)),
                Item::ArrayOfTables(tables) => Some(Self::Tables(tables)),
                Item::Value(value) => Self::value(value),
                Item::None => None,
            },
            Self::Inline(table) => Self::value(table.get_mut(key)?),
            Self::Array(items) => Self::value(items.get_mut(key.parse().ok()?)?),
            Self::Tables(tables) => tables.get_mut(key.parse().ok()?).map(Self::Table),
        }
    }

    fn value(value: &'a mut Value) -> Option<Place<'a>> {
        match value {
            Value::InlineTable(table) => Some(Self::Inline(table)),
            Value::Array(items) => Some(Self::Array(items)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# head\n[dataset.sst] # a set\nurl = 'x'\nblake3 = \"old\"   # pin\n\n[[dataset.sst.files]]\nname = \"a\"\n\
                        [[dataset.sst.files]]\nname = \"b\"\n\n[more]\nlist = [{ name = \"c\" }, { name = \"d\" }] # list\n";

    #[test]
    fn comments_and_layout_stay() {
        let edited = with_string(TEXT, &["dataset", "sst", "blake3"], "new").unwrap();
        assert_eq!(edited, TEXT.replace("\"old\"", "\"new\""));
    }

    #[test]
    fn lists_are_entered_by_number_and_keys_are_added() {
        let edited = with_string(TEXT, &["dataset", "sst", "files", "1", "pin"], "p").unwrap();
        assert_eq!(edited, TEXT.replace("name = \"b\"\n", "name = \"b\"\npin = \"p\"\n"));
        let edited = with_string(TEXT, &["more", "list", "0", "pin"], "p").unwrap();
        assert_eq!(edited, TEXT.replace("name = \"c\"", "name = \"c\", pin = \"p\""));
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let message = |path: &[&str]| with_string(TEXT, path, "v").unwrap_err().message;
        assert_eq!(message(&["dataset", "mr", "pin"]), "there is no table `dataset.mr`");
        assert_eq!(message(&["dataset", "sst", "url", "pin"]), "there is no table `dataset.sst.url`");
        assert_eq!(message(&["more", "list", "7", "pin"]), "there is no table `more.list.7`");
        assert_eq!(message(&["dataset", "sst"]), "`dataset.sst` is a table, not a string");
        assert!(with_string("a = ", &["a"], "v").is_err());
    }
}
