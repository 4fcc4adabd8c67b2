//! The schema and the parser take the same.

use super::*;

fn keys(schema: &serde_json::Value, pointer: &str) -> Vec<String> {
    let object = schema.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {schema:#}"));
    let mut keys: Vec<_> = object.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

#[test]
fn the_schema_has_the_keys_that_the_parser_takes() {
    let schema = json_schema(&vocabulary());
    let sorted = |keys: &[&str]| {
        let mut keys: Vec<_> = keys.iter().map(|k| k.to_string()).collect();
        keys.sort();
        keys
    };
    let tables = ["pipeline", "axes", "params", "stages", "remote", "task", "method"];
    assert_eq!(keys(&schema, "/properties"), sorted(&[&tables[..], &["include", "profile"]].concat()));
    let profile = "/properties/profile/additionalProperties/properties";
    assert_eq!(keys(&schema, profile), sorted(&[&tables[..], &pipeline::PROFILE_KEYS].concat()));
    let stage = "/properties/stages/additionalProperties/oneOf/1/properties";
    assert_eq!(keys(&schema, stage), sorted(&[&stage_keys::COMMON_KEYS[..], &["from"]].concat()));
    // What the schema offers, the parser takes.
    for key in keys(&schema, "/$defs/PipelineTable/properties") {
        let value = match key.as_str() {
            "seeds" => "[1]",
            "goals" => "['s']",
            _ => "'mini'",
        };
        good(
            &format!("[pipeline]\n{key} = {value}\n[stages.s]\nkind = 'copy'\n[profile.mini]\n"),
            &LoadOptions::default(),
        );
    }
    for (key, value) in
        [("matrix", "{ x = [1] }"), ("exclude", "[]"), ("inputs", "{}"), ("resources", "{}"), ("export", "'x'")]
    {
        assert!(stage_keys::COMMON_KEYS.contains(&key));
        good(&format!("[stages.s]\nkind = 'copy'\n{key} = {value}\n"), &LoadOptions::default());
    }
}

#[test]
fn what_the_parser_takes_the_schema_knows() {
    let schema = json_schema(&vocabulary());
    let unknown = |text: &str| {
        let (table, problems) = parse::parse_text(0, text);
        assert!(problems.is_empty());
        unknown_to_schema(&schema, &Node::new(Span::default(), Value::Table(table)))
    };
    assert_eq!(unknown(PIPELINE), [""; 0]);
    assert_eq!(
        unknown(
            "include = []\nextra = 1\n[pipeline]\nnam = 1\n[task.t]\nlabel = 1\nmetric = { name = 'f-score', beta = 1, x = 2 }\n\
             [task.u]\nmetric = { name = 'accuracy', beta = 1 }\n[method.m]\noptions = { a = 1 }\n[stages.s]\nkind = 'copy'\nnote = 1\n\
             [stages.t]\nkind = 'train'\nnote = 1\nnested.rnk = 1\n[profile.p]\nincluded = 1\ntask.t.dataste = 1\nstages.s.export = 'x'\n"
        ),
        [
            "extra",
            "pipeline.nam",
            "task.t.label",
            "task.t.metric.x",
            "task.u.metric.beta",
            "stages.s.note",
            "stages.t.nested.rnk",
            "profile.p.included",
            "profile.p.task.t.dataste"
        ]
    );
}

#[test]
fn profiles_in_the_schema_need_nothing_and_stages_may_interpolate() {
    let schema = json_schema(&vocabulary());
    assert_eq!(schema.pointer("/$defs/Method/required").map(ToString::to_string).as_deref(), Some("[\"rank\"]"));
    assert!(schema.pointer("/$defs/Method.partial/properties").is_some());
    assert!(schema.pointer("/$defs/Method.partial/required").is_none());
    let train = schema.pointer("/properties/stages/additionalProperties/oneOf/0").unwrap();
    assert_eq!(train["required"].to_string(), r#"["kind","method","seed"]"#);
    assert_eq!(train["properties"]["seed"]["anyOf"][1]["$ref"], "#/$defs/template");
    assert_eq!(train["properties"]["kind"]["const"], "train");
    let text = schema.to_string();
    for (at, _) in text.match_indices("\"$ref\":\"#/$defs/") {
        let name = text[at + 16..].split('"').next().unwrap();
        assert!(schema["$defs"].get(name).is_some(), "{name} is referred to and not defined");
    }
}
