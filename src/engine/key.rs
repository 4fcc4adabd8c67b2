//! Action keys: BLAKE3 over a canonical description of everything that can change an action's bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::digest::Digest;

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
        let Self { kind, version, params, inputs, numerics, notes } = self;
        let parts = Parts { inputs, kind, notes, numerics: numerics.as_deref(), params, version: *version };
        parts.key()
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

/// A description in pieces that lie elsewhere. The fields are in the order of their names, as in canonical JSON.
pub(super) struct Parts<'a> {
    pub inputs: &'a BTreeMap<String, Vec<Digest>>,
    pub kind: &'a str,
    pub notes: &'a [String],
    pub numerics: Option<&'a str>,
    pub params: &'a Value,
    pub version: u32,
}

impl Parts<'_> {
    /// BLAKE3 of the description's canonical JSON: sorted keys, no spaces.
    pub fn key(&self) -> Digest {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(b"{\"inputs\":{");
        for (i, (role, digests)) in self.inputs.iter().enumerate() {
            separate(i, &mut out);
            write_string(role, &mut out);
            out.extend_from_slice(b":[");
            for (j, digest) in digests.iter().enumerate() {
                separate(j, &mut out);
                write_string(&digest.to_string(), &mut out);
            }
            out.push(b']');
        }
        out.extend_from_slice(b"},\"kind\":");
        write_string(self.kind, &mut out);
        if !self.notes.is_empty() {
            out.extend_from_slice(b",\"notes\":[");
            for (i, note) in self.notes.iter().enumerate() {
                separate(i, &mut out);
                write_string(note, &mut out);
            }
            out.push(b']');
        }
        if let Some(numerics) = self.numerics {
            out.extend_from_slice(b",\"numerics\":");
            write_string(numerics, &mut out);
        }
        out.extend_from_slice(b",\"params\":");
        write_canonical(self.params, &mut out);
        out.extend_from_slice(format!(",\"version\":{}}}", self.version).as_bytes());
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&out);
        hasher.into()
    }
}

fn separate(i: usize, out: &mut Vec<u8>) {
    if i > 0 {
        out.push(b',');
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    // Writing a string to memory can't fail.
    let _ = serde_json::to_writer(out, text);
}

/// Equal values give equal text, and only they do.
fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                separate(i, out);
                write_canonical(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(k, _)| *k);
            out.push(b'{');
            for (i, (k, v)) in entries.into_iter().enumerate() {
                separate(i, out);
                write_string(k, out);
                out.push(b':');
                write_canonical(v, out);
            }
            out.push(b'}');
        }
        Value::String(text) => write_string(text, out),
        scalar => drop(serde_json::to_writer(out, scalar)),
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

    /// Keys in stores outlive this program: the text they are the hash of must not change.
    #[test]
    fn the_canonical_text_is_that_of_the_description_as_json() {
        let mut whole = preimage(json!({"b": [1, 2.5, null], "a": {"z": "\"\n", "y": true}}));
        whole.inputs.insert("tokens".into(), vec![Digest::of(b"x"), Digest::of(b"y")]);
        for (numerics, notes) in
            [(None, vec![]), (Some("cpu-f32".to_owned()), vec!["one".to_owned(), "two".to_owned()])]
        {
            let described = Preimage { numerics, notes, ..whole.clone() };
            let mut text = Vec::new();
            write_canonical(&json!(described), &mut text);
            let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
            hasher.update(&text);
            assert_eq!(described.key(), hasher.into());
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
