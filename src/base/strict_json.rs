//! JSON files of models, adapters and tokenizers: of bounded size and depth, and without keys that say two things.

use std::{fmt, fs::File, io::Read, path::Path};

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::error::{At, Error, IoAt, Result};

/// The object in a file of at most `most` bytes.
///
/// # Errors
/// If the file is larger, isn't an object, or says two things under one key.
pub fn object(name: &str, path: &Path, most: u64) -> Result<Map<String, Value>> {
    let mut bytes = Vec::new();
    File::open(path).io_at("open", path)?.take(most + 1).read_to_end(&mut bytes).io_at("read", path)?;
    if bytes.len() as u64 > most {
        return Err(damaged(format!("larger than {} MiB", most >> 20))).at(name);
    }
    parse(&bytes).at(name)
}

/// The object that `bytes` are.
///
/// # Errors
/// As [`object`].
pub fn parse(bytes: &[u8]) -> Result<Map<String, Value>> {
    match serde_json::from_slice(bytes).map_err(damaged)? {
        Once(Value::Object(map)) => Ok(map),
        Once(_) => Err(damaged("not an object, `{...}`")),
    }
}

/// The keys of an object in their order; its values are skipped.
///
/// # Errors
/// If it isn't an object.
pub fn keys(bytes: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
            let mut keys = Vec::new();
            while let Some((key, IgnoredAny)) = map.next_entry()? {
                keys.push(key);
            }
            Ok(keys)
        }
    }
    serde_json::Deserializer::from_slice(bytes).deserialize_map(Keys)
}

fn damaged(e: impl fmt::Display) -> Error {
    Error::input(e).help("the file is damaged: fetch it again")
}

/// A value without a key that stands for two things. (`serde_json` would take the last.)
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor).map(Self)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Once(value))) = entries.next_entry::<String, _>()? {
            if map.get(&key).is_some_and(|earlier| *earlier != value) {
                return Err(A::Error::custom(format!("`{key}` is there twice, with different values")));
            }
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_as_serde_json_reads_them() {
        let text = br#"{"a": [1, -2, 1.5, null, true, "x\n", {"b": 18446744073709551615}], "c": {}}"#;
        assert_eq!(Value::Object(parse(text).unwrap()), serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn a_key_says_one_thing() {
        for text in [r#"{"a": 1, "a": 2}"#, r#"{"x": [{"a": 1, "a": null}]}"#] {
            assert!(parse(text.as_bytes()).unwrap_err().message.contains("`a` is there twice"));
        }
        assert_eq!(parse(br#"{"a": 1, "a": 1}"#).unwrap()["a"], json!(1));
        assert_eq!(keys(br#"{"a": {"x": 1}, "b": [], "a": 2}"#).unwrap(), ["a", "b", "a"]);
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = format!("{{\"a\": {}", "[".repeat(1_000_000));
        assert!(parse(deep.as_bytes()).unwrap_err().message.contains("recursion limit"));
        assert!(keys(deep.as_bytes()).is_err());
        assert!(parse(b"[1]").unwrap_err().message.contains("not an object"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{{\"a\": \"{}\"}}", "x".repeat(1 << 20))).unwrap();
        let e = object("config.json", file.path(), 1 << 20).unwrap_err();
        assert!(e.message.contains("config.json: larger than 1 MiB") && e.help.is_some(), "{e}");
        assert!(object("config.json", file.path(), 2 << 20).is_ok());
    }
}
