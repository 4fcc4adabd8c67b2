//! Why an action runs: its description against the one that last stood under its name, field by field.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::Preimage;
use crate::base::digest::Digest;

/// One difference between two descriptions, or another cause to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Reason {
    /// Nothing of this name was ever computed in this store.
    New,
    /// The description is known, its result isn't (collected, damaged, or never finished).
    ResultMissing,
    Forced,
    StageVersion {
        from: u32,
        to: u32,
    },
    Kind {
        from: String,
        to: String,
    },
    Numerics {
        from: Option<String>,
        to: Option<String>,
    },
    /// A parameter differs; `None` where it isn't there.
    Parameter {
        field: String,
        from: Option<Value>,
        to: Option<Value>,
    },
    Input {
        role: String,
        from: Vec<Digest>,
        to: Vec<Digest>,
    },
    /// Something that led to the inputs was vouched for, or no longer is.
    Notes {
        from: Vec<String>,
        to: Vec<String>,
    },
    /// An input isn't known yet, because an action before has to run first.
    InputPending {
        role: String,
        action: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |v: &Option<Value>| v.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        match self {
            Self::New => f.write_str("new"),
            Self::ResultMissing => f.write_str("its result is no longer in the store"),
            Self::Forced => f.write_str("forced"),
            Self::StageVersion { from, to } => write!(f, "stage version changed: {from} -> {to}"),
            Self::Kind { from, to } => write!(f, "kind changed: {from} -> {to}"),
            Self::Numerics { from, to } => {
                let show = |n: &Option<String>| n.clone().unwrap_or_else(|| "any".to_owned());
                write!(f, "numerics changed: {} -> {}", show(from), show(to))
            }
            Self::Parameter { field, from, to } => {
                write!(f, "parameter `{field}` changed: {} -> {}", show(from), show(to))
            }
            Self::Input { role, from, to } => {
                let list = |d: &[Digest]| match d {
                    [] => "nothing".to_owned(),
                    [one] => one.short(),
                    many => format!("{} artifacts", many.len()),
                };
                write!(f, "input `{role}` changed: {} -> {}", list(from), list(to))?;
                if from.len() == to.len() && to.len() > 1 {
                    let changed = from.iter().zip(to).filter(|(a, b)| a != b).count();
                    write!(f, " ({changed} of them)")?;
                }
                Ok(())
            }
            Self::Notes { from, to } => write!(f, "accepted results behind it changed: {} -> {}", from.len(), to.len()),
            Self::InputPending { role, action } => write!(f, "input `{role}` depends on {action}, which runs first"),
        }
    }
}

/// The differences from `old` to `new`; empty where they are equal.
pub fn differences(old: &Preimage, new: &Preimage) -> Vec<Reason> {
    let mut out = differences_but_inputs(old, new);
    let roles: std::collections::BTreeSet<_> = old.inputs.keys().chain(new.inputs.keys()).collect();
    for role in roles {
        let [from, to] = [old, new].map(|p| p.inputs.get(role).cloned().unwrap_or_default());
        if from != to {
            out.push(Reason::Input { role: role.clone(), from, to });
        }
    }
    if old.notes != new.notes {
        out.push(Reason::Notes { from: old.notes.clone(), to: new.notes.clone() });
    }
    out
}

/// As [`differences`], for an action whose inputs aren't all known yet.
pub fn differences_but_inputs(old: &Preimage, new: &Preimage) -> Vec<Reason> {
    let mut out = Vec::new();
    if old.kind != new.kind {
        out.push(Reason::Kind { from: old.kind.clone(), to: new.kind.clone() });
    }
    if old.version != new.version {
        out.push(Reason::StageVersion { from: old.version, to: new.version });
    }
    if old.numerics != new.numerics {
        out.push(Reason::Numerics { from: old.numerics.clone(), to: new.numerics.clone() });
    }
    compare("", Some(&old.params), Some(&new.params), &mut out);
    out
}

fn compare(field: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Reason>) {
    match (old, new) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in names {
                let path = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
                compare(&path, a.get(name), b.get(name), out);
            }
        }
        (a, b) if a != b => out.push(Reason::Parameter { field: field.to_owned(), from: a.cloned(), to: b.cloned() }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn differences_name_the_innermost_field() {
        let old = Preimage {
            kind: "train".into(),
            version: 1,
            params: json!({"method": {"rank": 8, "alpha": 32}, "seed": 0}),
            inputs: BTreeMap::from([("tokens".into(), vec![Digest::of(b"a")])]),
            numerics: None,
            notes: Vec::new(),
        };
        let mut new = old.clone();
        assert_eq!(differences(&old, &new), []);
        new.params = json!({"seed": 0, "method": {"alpha": 32, "rank": 4}});
        new.inputs.insert("tokens".into(), vec![Digest::of(b"b")]);
        let shown: Vec<_> = differences(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(shown[0], "parameter `method.rank` changed: 8 -> 4");
        assert!(shown[1].starts_with("input `tokens` changed: "), "{shown:?}");
        assert_eq!(shown.len(), 2);
    }
}
