//! Whole files that are as they should be: what comes out.

use super::*;

#[test]
fn a_pipeline_is_expanded() {
    let spec = good(PIPELINE, &LoadOptions::default());
    assert_eq!(
        (spec.pipeline.name.as_str(), &spec.pipeline.seeds, &spec.pipeline.goals),
        ("paper", &vec![0, 1], &vec!["train".to_owned()])
    );
    let train = spec.stage("train").unwrap();
    assert_eq!(
        names(train),
        [
            "task=sst,method=lora,seed=0",
            "task=sst,method=lora,seed=1",
            "task=sst,method=ptuning,seed=0",
            "task=sst,method=ptuning,seed=1",
            "task=mosi,method=ptuning,seed=0",
        ]
    );
    let last = train.actions.last().unwrap();
    assert_eq!(
        to_json(&last.params).to_string(),
        r#"{"method":"ptuning","seed":0,"note":"hi: mosi-raw, ${seed}","nested":{"rank":32}}"#
    );
    assert_eq!(last.export.as_deref(), Some("out/mosi"));
    let resources: ResourceRequest = from_node(last.resources.as_ref().unwrap()).unwrap();
    assert_eq!(resources, ResourceRequest { cores: Some(2), memory: Some(Size(2 << 30)), gpus: None });
    let raw = &last.inputs[0].stages[0];
    assert_eq!((raw.stage.as_str(), &raw.constraints), ("raw", &vec![("dataset".to_owned(), "mosi-raw".to_owned())]));
    assert_eq!(last.inputs[1].role, "more");
    assert_eq!(spec.definition("method", "lora", None).unwrap().get("rank").unwrap().as_int(), Some(8));
    let error = spec.definition("method", "lroa", None).unwrap_err();
    assert_eq!(error.help.as_deref(), Some("did you mean `lora`?"));
}

#[test]
fn a_whole_string_takes_the_span_of_what_it_names() {
    let folder = Folder::new(&[("p.toml", PIPELINE)]);
    let loaded = folder.load(&LoadOptions::default());
    let spec = loaded.spec.unwrap();
    let rank = spec.stage("train").unwrap().actions[0].params.get("nested.rank").unwrap();
    assert_eq!(loaded.sources.text(rank.span), Some("8"));
}

#[test]
fn profiles_and_set_are_laid_over_the_file() {
    let rank = |spec: &Spec| to_json(spec.definition("method", "lora", None).unwrap()).to_string();
    let spec = good(PIPELINE, &profile("small"));
    assert_eq!((spec.profile.as_deref(), rank(&spec).as_str()), (Some("small"), r#"{"rank":4,"epochs":1}"#));
    assert_eq!(spec.pipeline.seeds, [7]);
    let mut options = profile("base");
    options.set = vec![("method.lora.rank".into(), "16".into()), ("params.note.text".into(), "free text".into())];
    let spec = good(PIPELINE, &options);
    assert_eq!(rank(&spec), r#"{"rank":16,"epochs":1}"#);
    assert!(to_json(&spec.stage("train").unwrap().actions[0].params).to_string().contains("free text: sst-raw"));
    let spec = good(&PIPELINE.replace("goals", "default_profile = 'base'\ngoals"), &LoadOptions::default());
    assert_eq!(spec.profile.as_deref(), Some("base"));
}

#[test]
fn axes_lists_stand_for_all() {
    let spec = good(
        "[axes]\ntask = ['b']\nlr = [1e-3, 0.5]\n[task.a]\ndataset = 'a'\n[task.b]\ndataset = 'b'\n\
         [stages.x]\nkind = 'copy'\nmatrix = { task = 'all', lr = 'all', seed = 'all' }\n\
         [stages.y]\nkind = 'copy'\nmatrix = { task = ['a'] }",
        &LoadOptions::default(),
    );
    assert_eq!(names(&spec.stages[0]), ["task=b,lr=0.001,seed=0", "task=b,lr=0.5,seed=0"]);
    assert_eq!(names(&spec.stages[1]), ["task=a"]);
    assert_eq!((spec.pipeline.name.as_str(), spec.pipeline.goals.len()), ("p", 0));
}

#[test]
fn included_files_are_merged_and_own_values_win() {
    let folder = Folder::new(&[
        (
            "p.toml",
            "include = [{ path = 'parts/*.toml', stages = true }, 'parts/a.toml']\n[pipeline]\nname = 'own'\n[profile.mini]\ninclude = ['mini/m.toml']\nparams.b = 9\n",
        ),
        ("parts/a.toml", "[pipeline]\nname = 'a'\ndescription = 'd'\nroot = '../store'\n[task.t]\ndataset = 'x'\n"),
        (
            "parts/b.toml",
            "include = ['a.toml']\n[task.u]\ndataset = 'y'\n[stages.s]\nkind = 'copy'\nmatrix = { task = 'all' }\n[params]\na = 1\nb = 2\n[profile.mini.params]\na = 5\n",
        ),
        ("mini/m.toml", "[task.t]\ndataset = 'small'\n[params]\nb = 8\na = 8\n"),
    ]);
    let loaded = folder.load(&profile("mini"));
    assert!(loaded.diagnostics.is_empty(), "{}", folder.problems(&loaded));
    let spec = loaded.spec.unwrap();
    assert_eq!((spec.pipeline.name.as_str(), spec.pipeline.description.as_deref()), ("own", Some("d")));
    assert_eq!(spec.pipeline.root, folder.0.path().join("store"));
    assert_eq!(names(&spec.stages[0]), ["task=t", "task=u"]);
    let dataset = spec.definition("task", "t", None).unwrap().get("dataset").unwrap();
    assert_eq!(dataset.as_str(), Some("small"));
    assert!(loaded.sources.path(dataset.span).unwrap().ends_with("mini/m.toml"));
}

#[test]
fn many_actions_expand_quickly() {
    let seeds: Vec<_> = (0..10_000).map(|n| n.to_string()).collect();
    let text = PIPELINE.replace("seeds = [0, 1]", &format!("seeds = [{}]", seeds.join(",")));
    let started = std::time::Instant::now();
    let spec = good(&text, &LoadOptions::default());
    // About 0.2 s; anything quadratic takes minutes.
    assert!(started.elapsed().as_secs() < 20);
    assert_eq!(spec.stage("train").unwrap().actions.len(), 29_999);
}

#[test]
fn files_are_found_where_the_user_points() {
    let sources = SourceMap { files: vec![(PathBuf::from("a/b.toml"), "x".into())] };
    assert_eq!(sources.place(Span { file: 0, start: 0, end: 1 }), "a/b.toml:1:1");
}
