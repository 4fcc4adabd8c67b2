//! Configurations that are understood, and that are refused.

use serde_json::json;

use super::*;
use crate::models::weights::config_bounds::EPSILON;

fn config(values: Value) -> Config {
    Config::new("config.json", values.as_object().unwrap().clone())
}

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) {
    let message = result.unwrap_err().message;
    for part in parts {
        assert!(message.contains(part), "`{part}` isn't in: {message}");
    }
}

#[test]
fn what_nobody_reads_is_refused_by_name() {
    let c = config(json!({ "a": 1, "b": "x", "c": null, "d": 0, "e_x": [] }));
    assert_eq!(c.size("a", 10).unwrap(), 1);
    says(c.refuse_unread(&[&["d"], &["e_*"]]), &["config.json: `b` (`x`) isn't understood"]);
    says(c.refuse_unread(&[]), &["`b`, `d`, `e_x` aren't understood"]);
    c.expect("b", "x").unwrap();
    c.refuse_unread(&[&["d"], &["e_*"]]).unwrap();
}

#[test]
fn tables_inside_are_accounted_for_too() {
    let c = config(json!({ "rope": { "kind": "default", "factor": 2.0 } }));
    let rope = c.table("rope").unwrap().unwrap();
    rope.expect("kind", "default").unwrap();
    says(rope.refuse_unread(&[]), &["config.json: `rope`: `factor` (2.0) isn't understood"]);
    c.refuse_unread(&[]).unwrap();
    says(config(json!({ "rope": "yarn" })).table("rope"), &["`rope` is `yarn`, not a table"]);
}

#[test]
fn numbers_have_ranges() {
    for (value, fine) in [
        (json!(1e-5), true),
        (json!(0), false),
        (json!(-1e-5), false),
        (json!(7), false),
        (json!("NaN"), false),
        (json!(f64::MAX), false),
    ] {
        let c = config(json!({ "eps": value }));
        assert_eq!(c.number("eps", &EPSILON).is_ok(), fine, "{value}");
    }
    for value in [json!(0), json!(-3), json!(4.5), json!(4097), json!(u64::MAX), json!("4"), json!(true)] {
        says(config(json!({ "n": value })).size("n", 4096), &["config.json: `n` is", "above 0 and up to 4096"]);
    }
    says(config(json!({ "n": null })).size("n", 4096), &["`n` is missing"]);
}

#[test]
fn lists_and_alternatives_are_compared_by_value() {
    let c = config(json!({ "one": 1, "zero": 0.0, "kinds": ["full", "full"], "other": ["full", "window"] }));
    c.expect_one_of("one", &[json!(1.0)]).unwrap();
    c.expect_one_of("zero", &[json!(1.0), json!(0)]).unwrap();
    says(c.expect_one_of("one", &[json!(2)]), &["`one` is 1; only 2 is supported"]);
    c.expect_each("kinds", "full").unwrap();
    says(c.expect_each("other", "full"), &["`other` has `window`; only `full` is supported"]);
    says(c.expect_each("one", "full"), &["`one` has 1"]);
}

#[test]
fn what_a_pipeline_file_adds_is_named_as_its_own() {
    let table = ConfigTable::from([("a".to_owned(), json!(1)), ("b".to_owned(), json!(2))]);
    let c = config(json!({ "a": 1 })).with_table(&table).unwrap();
    says(c.size("b", 1), &["the model's `config` table: `b` is 2"]);
    says(c.size("a", 0), &["config.json: `a` is 1"]);
    let c = config(json!({ "a": 1 })).with_table(&table).unwrap();
    assert!(c.size("a", 1).is_ok());
    says(c.refuse_unread(&[]), &["the model's `config` table: `b` (2) isn't understood"]);
    says(config(json!({ "a": 3 })).with_table(&table), &["`a` is 3 in config.json, and 1 in the model's"]);
}
