//! How tables come together: included files side by side, profiles on top.

use super::{
    diagnostic::Diagnostic,
    diagnostic_sink::Sink,
    node::{Node, Table, Value},
    source_map::SourceMap,
};

/// Lays `top` over `base`: tables are merged key by key, everything else is replaced. Known keys keep their position.
pub(super) fn overlay(base: &mut Table, top: Table) {
    for (name, (key, node)) in top {
        match (base.get_mut(&name), node.value) {
            (Some((_, Node { value: Value::Table(below), .. })), Value::Table(above)) => overlay(below, above),
            (_, value) => {
                base.insert(name, (key, Node { value, ..node }));
            }
        }
    }
}

/// Adds the tables of another file. Names in the tables that `named` accepts belong to one file alone; all else is
/// overlaid.
pub(super) fn unite(
    base: &mut Table,
    other: Table,
    named: &dyn Fn(&str) -> bool,
    sources: &SourceMap,
    sink: &mut Sink,
) {
    for (name, (key, mut node)) in other {
        if let (true, Some((_, Node { value: Value::Table(below), .. })), Value::Table(above)) =
            (named(&name), base.get(&name), &mut node.value)
        {
            above.retain(|entry, (again, _)| {
                let Some((first, _)) = below.get(entry) else { return true };
                if sink.is_full() {
                    return false;
                }
                sink.push(
                    Diagnostic::new(format!("`{name}.{entry}` is defined in two files"))
                        .at(again.span)
                        .label("defined again here")
                        .help(format!(
                            "it is first defined at {}; rename one of them, or put what differs into a profile",
                            sources.place(first.span)
                        )),
                );
                false
            });
        }
        overlay(base, std::iter::once((name, (key, node))).collect());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::node::{Key, Span, to_json};
    use super::*;

    fn node(value: Value) -> Node {
        Node::new(Span::default(), value)
    }

    fn trees() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![(0..3i64).prop_map(Value::Int), "[xy]".prop_map(Value::Str)].prop_map(node);
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![tables(inner.clone()), prop::collection::vec(inner, 0..3).prop_map(|v| node(Value::Array(v)))]
        })
    }

    fn tables(inner: impl Strategy<Value = Node>) -> impl Strategy<Value = Node> {
        prop::collection::vec(("[a-d]", inner), 0..4).prop_map(|entries| {
            let key = Key { span: Span::default() };
            node(Value::Table(entries.into_iter().map(|(name, n)| (name, (key, n))).collect()))
        })
    }

    fn merged(base: &Node, top: &Node) -> Node {
        let (mut base, top) = (base.as_table().unwrap().clone(), top.as_table().unwrap().clone());
        overlay(&mut base, top);
        node(Value::Table(base))
    }

    fn sorted(node: &Node) -> String {
        // A BTreeMap behind the scenes: order must not count where the laws don't speak of it.
        fn sort(json: serde_json::Value) -> serde_json::Value {
            match json {
                serde_json::Value::Object(map) => {
                    let map: std::collections::BTreeMap<_, _> = map.into_iter().map(|(k, v)| (k, sort(v))).collect();
                    map.into_iter().collect()
                }
                serde_json::Value::Array(items) => items.into_iter().map(sort).collect(),
                other => other,
            }
        }
        sort(to_json(node)).to_string()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        #[test]
        fn overlaying_twice_changes_nothing(a in tables(trees()), b in tables(trees())) {
            let once = merged(&a, &b);
            prop_assert_eq!(to_json(&merged(&once, &b)), to_json(&once));
        }

        #[test]
        fn every_leaf_of_the_top_wins(a in tables(trees()), b in tables(trees())) {
            let both = merged(&a, &b);
            for (name, (_, node)) in b.as_table().unwrap() {
                if node.as_table().is_none() {
                    prop_assert_eq!(to_json(both.get(name).unwrap()), to_json(node));
                }
            }
        }

        #[test]
        fn the_empty_table_is_neutral(a in tables(trees())) {
            let empty = node(Value::Table(Table::new()));
            prop_assert_eq!(sorted(&merged(&a, &empty)), sorted(&a));
            prop_assert_eq!(sorted(&merged(&empty, &a)), sorted(&a));
        }
    }
}
