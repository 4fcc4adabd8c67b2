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
    plan_of("paper.toml", Some(profile))
}

fn plan_of(file: &str, profile: Option<&str>) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(file);
    let options = LoadOptions { profile: profile.map(str::to_owned), set: Vec::new() };
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
fn the_encoder_has_a_head_under_every_condition() {
    let plan = plan_of("encoder.toml", None);
    let count = |stage: &str| plan.actions.iter().filter(|a| a.stage == stage).count();
    let tasks = count("tokens");
    assert_eq!((count("train"), count("classified"), count("tables")), (3 * tasks, 3 * tasks, 1));
    let trained = plan.actions.iter().filter(|a| a.stage == "train");
    assert!(trained.into_iter().all(|a| a.resolved.params["head"] == true));
}

#[test]
fn the_paper_has_eight_tasks_three_conditions_and_five_tables() {
    let whole = plan("paper");
    let count = |plan: &Plan, stage: &str| plan.actions.iter().filter(|a| a.stage == stage).count();
    let stages = ["raw", "tokenizer", "backbone", "tokens", "zero-shot", "train", "adapted", "table-1", "tables"];
    assert_eq!(stages.map(|s| count(&whole, s)), [6, 1, 1, 8, 8, 16, 16, 1, 1]);
    let on_gpu = |a: &&emopipe::engine::plan::Action| ["zero-shot", "train", "adapted"].contains(&a.stage.as_str());
    for action in whole.actions.iter().filter(on_gpu) {
        assert_eq!(action.resolved.numerics.as_deref(), Some("cuda-bf16"), "{}", action.name);
        assert_eq!(action.resolved.resources.gpus, 1, "{}", action.name);
        let memory = action.resolved.memory.as_ref().expect("sizes are known without the weights");
        let footprint = memory.footprint(&Default::default()).unwrap();
        assert!(
            !footprint.exact && (12 << 30..24 << 30).contains(&footprint.total()),
            "{}: {footprint:?}",
            action.name
        );
    }
    let train = whole.actions.iter().find(|a| a.name == "train[task=sst-2,method=ptuning2,seed=0]").unwrap();
    let params = &train.resolved.params;
    assert_eq!(
        (&params["adapter"]["virtual_tokens"], &params["training"]["batch_size"], &params["training"]["length"]),
        (&json!(32), &json!(16), &json!({ "steps": 3000 }))
    );
    let dry = plan("paper-dry");
    assert_eq!(stages.map(|s| count(&dry, s)), [6, 1, 0, 8, 0, 0, 0, 1, 0]);
    assert_eq!(count(&dry, "memory"), 1);
}

/// Paths of the choices that a profile's report lists.
fn choices(plan: &Plan) -> Vec<String> {
    let tables = plan.actions.iter().find(|a| a.stage == "tables").unwrap();
    let choices = tables.resolved.params["choices"].as_array().unwrap();
    choices.iter().map(|choice| choice["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_a_publication_leaves_open_shows_in_its_report() {
    let paper = plan("paper");
    let found = choices(&paper);
    // All that the paper states of a method.
    let stated = ["title", "adapter", "batch_size", "kind", "virtual_tokens", "rank"];
    for method in ["ptuning2", "lora"] {
        let settings = paper.spec.definitions["method"][method].as_table().unwrap();
        let options =
            settings["adapter"].1.as_table().unwrap().keys().map(|option| (option, format!("adapter.{option}")));
        let keys = settings.keys().map(|key| (key, key.clone())).chain(options);
        for (_, key) in keys.filter(|(key, _)| !stated.contains(&key.as_str())) {
            let path = format!("method.{method}.{key}");
            assert!(found.contains(&path), "{path} isn't among {found:?}");
        }
    }
    for path in ["task.mosi-2.scheme", "task.ch-sims.scheme", "task.friends.scheme", "task.mastodon.dataset"] {
        assert!(found.iter().any(|f| f == path), "{path} isn't among {found:?}");
    }
    assert_eq!(choices(&plan("mini")).len(), 8);
}

#[test]
fn the_schema_knows_every_key_of_definitions_and_stages() {
    for profile in ["mini", "paper"] {
        the_schema_knows(&plan(profile));
    }
}

fn the_schema_knows(plan: &Plan) {
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
