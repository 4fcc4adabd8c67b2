//! Action keys: BLAKE3 over a canonical description of everything that can change an action's bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::Digest;

const CONTEXT: &str = "emopipe action key v1";

/// What a key is the hash of. Never holds paths, hosts, thread counts, times or the order of TOML keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preimage {
    pub kind: String,
    pub version: u32,
    pub params: Value,
    /// Content digests of the input artifacts by role, in the order of the action names that made them.
    pub inputs: BTreeMap<String, Vec<Digest>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numerics: Option<String>,
    /// Of kinds that show them: see [`super::Job::notes`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Preimage {
    pub fn key(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        let mut text = String::new();
        write_canonical(&serde_json::json!(self), &mut text);
        hasher.update(text.as_bytes());
        hasher.into()
    }

    /// The description in a stored record.
    pub fn of_record(record: &Value) -> Option<Self> {
        serde_json::from_value(record.get("preimage")?.clone()).ok()
    }
}

/// Whether a stored record is the description of this key.
pub fn describes(key: &Digest, record: &Value) -> bool {
    Preimage::of_record(record).is_some_and(|preimage| preimage.key() == *key)
}

/// JSON with sorted keys and no spaces: equal values give equal text, and only they do.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(k, _)| *k);
            out.push('{');
            for (i, (k, v)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(k.as_str()).to_string());
                out.push(':');
                write_canonical(v, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn preimage(params: Value) -> Preimage {
        Preimage {
            kind: "train".into(),
            version: 1,
            params,
            inputs: BTreeMap::new(),
            numerics: None,
            notes: Vec::new(),
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9f64).prop_map(Value::from),
            "[a-z\"\\\\]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    fn reversed(value: &Value) -> Value {
        match value {
            Value::Object(m) => Value::Object(m.iter().rev().map(|(k, v)| (k.clone(), reversed(v))).collect()),
            Value::Array(a) => a.iter().map(reversed).collect(),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn key_is_equal_if_and_only_if_the_description_is(a in any_json(), b in any_json()) {
            prop_assert_eq!(preimage(a.clone()).key(), preimage(reversed(&a)).key());
            prop_assert_eq!(preimage(a.clone()).key() == preimage(b.clone()).key(), a == b);
        }
    }

    #[test]
    fn every_part_enters_the_key() {
        let base = preimage(json!({"rank": 8}));
        let mut others = vec![base.clone(); 6];
        others[0].kind = "evaluate".into();
        others[1].version = 2;
        others[2].params = json!({"rank": 4});
        others[3].inputs.insert("tokens".into(), vec![Digest::of(b"x")]);
        others[4].numerics = Some("cpu-f32".into());
        others[5].notes.push("vouched for".into());
        for other in others {
            assert_ne!(base.key(), other.key());
        }
    }
}
