//! The pipeline files that come with emopipe: they plan without problems, and the JSON Schema knows all that they say.

use std::path::Path;

use emopipe::{
    config::{LoadOptions, json_schema, load, render, unknown_to_schema},
    engine::plan::Plan,
    stages,
};
use schemars::SchemaGenerator;
use serde_json::json;

fn plan(profile: &str) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/paper.toml");
    let options = LoadOptions { profile: Some(profile.to_owned()), set: Vec::new() };
    let loaded = load(&path, &options, &stages::vocabulary());
    assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded.diagnostics, &loaded.sources));
    Plan::new(loaded.spec.unwrap(), stages::REGISTRY)
        .unwrap_or_else(|found| panic!("{}", render(&found, &loaded.sources)))
}

#[test]
fn the_mini_profile_has_every_condition_of_every_task() {
    let plan = plan("mini");
    let count = |stage: &str| plan.actions.iter().filter(|a| a.stage == stage).count();
    let tasks = count("tokens");
    assert!(tasks >= 6);
    assert_eq!(count("zero-shot"), tasks);
    assert_eq!(count("train"), 2 * tasks);
    assert_eq!(count("adapted"), 2 * tasks);
    assert_eq!(count("tables"), 1);
    for (i, action) in plan.actions.iter().enumerate() {
        assert!(plan.inputs(i).all(|input| input < i), "{} comes after its inputs", action.name);
    }
}

#[test]
fn the_schema_knows_every_key_of_definitions_and_stages() {
    let plan = plan("mini");
    let schema = json_schema(&stages::vocabulary());
    for (kind, named) in &plan.spec.definitions {
        for (name, node) in named {
            let mut one = schema["properties"][kind.as_str()]["additionalProperties"].clone();
            one["$defs"] = schema["$defs"].clone();
            assert_eq!(unknown_to_schema(&one, node), [""; 0], "{kind}.{name}");
        }
    }
    let mut kinds = std::collections::BTreeSet::new();
    for stage in &plan.spec.stages {
        let kind = stages::REGISTRY.iter().find(|k| k.name() == stage.kind).unwrap();
        let mut generator = SchemaGenerator::default();
        let mut of_kind = json!(kind.schema(&mut generator));
        of_kind["$defs"] = json!(generator.definitions());
        for action in &stage.actions {
            assert_eq!(unknown_to_schema(&of_kind, &action.params), [""; 0], "{}", stage.name);
        }
        kinds.insert(stage.kind.as_str());
    }
    assert!(kinds.len() >= 6, "{kinds:?}");
}
