//! Pipeline files that nobody would write on purpose: too many, too deep, too large, or not one at all. Each is refused with a
//! message that fits on a page; and what an included file may not say.

mod common;

use std::{fmt::Write, process::Command};

use common::Project;

const STAGE: &str = "[stages.a]\nkind = \"exec\"\ncommand = [\"true\", \"{out}\"]\noutputs = [\"x\"]\n";

/// What `plan` says against a pipeline.
#[track_caller]
fn refused(project: &Project) -> String {
    let said = project.emopipe(&["plan"]).fails(2).stderr();
    assert!(said.len() < 64 << 10, "{} bytes of messages", said.len());
    said
}

#[track_caller]
fn refuses(pipeline: &str, says: &str) {
    let said = refused(&Project::new(pipeline));
    assert!(said.contains(says), "{says}: {said}");
}

fn each(n: usize, line: impl Fn(usize) -> String) -> String {
    (0..n).map(line).collect()
}

#[test]
fn very_many_mistakes_are_counted_and_the_first_shown() {
    refuses(&format!("{STAGE}{}", each(100_000, |i| format!("[u{i}]\n"))), "100000 problems");
    refuses(&format!("{STAGE}{}", each(5_000, |i| format!("k{i} = 1\n"))), "these are the first");
    refuses(
        &each(5_000, |i| STAGE.replace("[stages.a]", &format!("[stages.s{i}]\ninputs = {{ x = \"t{i}\" }}"))),
        "more aren't",
    );
    let circle = each(5_000, |i| {
        STAGE.replace("[stages.a]", &format!("[stages.s{i}]\ninputs = {{ x = \"s{}\" }}", (i + 1) % 5_000))
    });
    refuses(&circle, "in a circle: s0 -> s1");
}

#[test]
fn what_is_no_toml_is_called_that() {
    for text in [
        each(2_000, |i| format!("{i},a sentence,{i}\n")),
        "{\n  \"stages\": {\n    \"a\": 1\n  }\n}\n".to_owned(),
        "stages:\n  a:\n    kind: exec\n  b:\n    kind: exec\n".to_owned(),
    ] {
        let said = refused(&Project::new(&text));
        assert!(said.contains("it isn't TOML") && said.contains("1 problem in"), "{said}");
    }
}

#[test]
fn nesting_has_an_end() {
    let deep = 100_000;
    refuses(&format!("{STAGE}x = {}{}\n", "[".repeat(deep), "]".repeat(deep)), "recurs");
    refuses(&format!("{STAGE}{} = 1\n", vec!["a"; deep].join(".")), "recursion limit");
    refuses(&format!("{STAGE}[stages.{}]\n", vec!["a"; deep].join(".")), "recursion limit");
    let project = Project::new(STAGE);
    let set = format!("stages.{}=1", vec!["a"; 70].join("."));
    let said = project.emopipe(&["plan", "--set", &set]).fails(2).stderr();
    assert!(said.contains("leads nowhere"), "{said}");
    for i in 0..100 {
        project.write(&format!("c{i}.toml"), &format!("include = [\"c{}.toml\"]\n", i + 1));
    }
    project.write("pipeline.toml", &format!("include = [\"c0.toml\"]\n{STAGE}"));
    assert!(refused(&project).contains("include one another more than"), "{}", refused(&project));
}

#[test]
fn what_multiplies_is_measured_before_it_is_made() {
    let axis = |name: &str| format!("{name} = [{}]", each(1000, |i| format!("{i},")));
    refuses(&format!("{STAGE}matrix = {{ {}, {}, {} }}\n", axis("x"), axis("y"), axis("z")), "more combinations than");
    let big = format!("[params]\nbig = \"{}\"\n", "x".repeat(1_000_000));
    let many = |arguments: &str| STAGE.replace("\"{out}\"", &format!("\"{{out}}\", {arguments}"));
    refuses(&format!("{big}{}", many(&format!("\"{}\"", "${params.big}".repeat(10_000)))), "larger than");
    refuses(&format!("{big}{}", many(&"\"${params.big}\", ".repeat(10_000))), "larger than");
    refuses(&format!("{big}{}matrix = {{ {} }}\n", many("\"${params.big}\""), axis("x")), "larger than");
    refuses(
        &format!("{}matrix = {{ {} }}\n", many(&format!("\"{}\"", "${x}".repeat(20_000))), axis("x")),
        "larger than",
    );
    let mut gather = STAGE.replace("[stages.a]", &format!("[stages.b]\nmatrix = {{ {}, p = [1, 2, 3] }}", axis("x")));
    let _ = write!(gather, "{STAGE}matrix = {{ {}, q = [1, 2, 3] }}\ninputs = {{ i = \"b\" }}\n", axis("y"));
    refuses(&gather, "name more than");
}

#[test]
fn only_regular_files_are_read() {
    let project = Project::new(STAGE);
    assert!(Command::new("mkfifo").arg(project.path("pipe")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(project.path("socket")).unwrap();
    for (file, what) in [("pipe", "a pipe"), ("socket", "a socket"), ("/dev/zero", "a device"), ("/tmp", "a folder")] {
        let said = |pipeline: &str| {
            project.write("pipeline.toml", pipeline);
            refused(&project)
        };
        for said in [said(&format!("include = [\"{file}\"]\n{STAGE}")), said(&format!("{STAGE}files = [\"{file}\"]\n"))]
        {
            assert!(said.contains(what) && said.contains("no regular file"), "{said}");
        }
        let itself = project.command(&["plan", file]).output().unwrap();
        assert_eq!(itself.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&itself.stderr).contains("no regular file"));
    }
    project.write("pipeline.toml", &"#".repeat(17 << 20));
    assert!(refused(&project).contains("more than 16 MiB"));
}

#[test]
fn a_mistake_is_blamed_once_and_where_it_was_made() {
    let pipeline = include_str!("fixtures/planning/pipeline.toml");
    Project::new(pipeline).emopipe(&["plan"]).ok();
    for (right, wrong, message) in [
        ("family = \"llama\"", "family = \"lama\"", "did you mean `llama`?"),
        ("kind = \"lora\"", "kind = \"lorra\"", "did you mean `lora`?"),
        ("dataset = \"films\"", "dataset = \"filmes\"", "did you mean `films`?"),
        ("scheme = \"two\"", "scheme = \"twoo\"", "did you mean `two`?"),
        ("metrics = [\"accuracy\"]", "metrics = [\"accurcy\"]", "did you mean `accuracy`?"),
        ("answer = \"rank\"", "answer = \"rnk\"", "did you mean `rank`?"),
        ("raw = \"raw\"", "raw = \"rwa\"", "did you mean `raw`?"),
        ("from = \"model.tiny\"", "from = \"model.tny\"", "did you mean `model.tiny`?"),
        ("kind = \"train\"", "kind = \"trian\"", "did you mean `train`?"),
        ("instruction = \"Say {labels}: {sentence}\"", "instruction = \"Say\"", "no place for the sentence"),
    ] {
        assert_eq!(pipeline.matches(right).count(), 1, "{right}");
        let broken = pipeline.replace(right, wrong);
        let line = broken[..broken.find(wrong).unwrap()].matches('\n').count() + 1;
        let said = refused(&Project::new(&broken));
        let message = said.contains(message) && said.contains(&format!("pipeline.toml:{line}:"));
        assert!(message && said.contains("1 problem in"), "{wrong} on line {line}: {said}");
    }
    // What a table says as a whole is blamed at its head.
    let said = refused(&Project::new(&pipeline.replace("hidden_size = 16", "hidden_size = 0")));
    let line = pipeline[..pipeline.find("[model.tiny.config]").unwrap()].matches('\n').count() + 1;
    assert!(said.contains("`hidden_size` is 0") && said.contains(&format!("pipeline.toml:{line}:")), "{said}");
    assert!(said.contains("1 problem in"), "{said}");
}

#[test]
fn an_included_file_brings_no_stages_unless_it_may() {
    let project = Project::new("");
    let says = |pipeline: &str, card: &str| {
        project.write("card.toml", card);
        project.write("pipeline.toml", pipeline);
        project.emopipe(&["plan"])
    };
    let plain = format!("include = [\"card.toml\"]\n{STAGE}");
    let trusting = plain.replace("[\"card.toml\"]", "[{ path = \"card.toml\", stages = true }]");
    let evil = STAGE.replace("stages.a", "stages.evil");
    let refused = says(&plain, &evil).fails(2).stderr();
    assert!(refused.contains("may not bring the stage `evil`") && refused.contains("stages = true"), "{refused}");
    says(&trusting, &evil).ok();

    // Neither through a profile, nor by giving itself leave, nor by changing a stage that runs commands.
    let profile = format!("[pipeline]\ndefault_profile = \"p\"\n[profile.p]\ndescription = \"\"\n{STAGE}");
    let profiled = format!("include = [\"card.toml\"]\n{profile}");
    says(&profiled, "[profile.p.stages.evil]\nkind = \"exec\"\ncommand = [\"true\"]\n").fails(2);
    project.write("worse.toml", &evil);
    says(&plain, "include = [{ path = \"worse.toml\", stages = true }]\n").fails(2);
    says(&profiled, "[profile.p]\ninclude = [{ path = \"worse.toml\", stages = true }]\n").fails(2);
    let overlaid = profile.replace("description = \"\"", "include = [\"card.toml\"]");
    let changed = says(&overlaid, "[stages.a]\ncommand = [\"false\"]\n").fails(2).stderr();
    assert!(changed.contains("may not change the stage `a`, which runs commands"), "{changed}");
    says(&overlaid, "[stages.a]\nkind = \"prepare\"\n").fails(2);
    says(&plain, "[remote]\nurl = \"/tmp/elsewhere\"\n").fails(2);
    says(&overlaid, "[profile.other]\n[remote]\nurl = \"/tmp/elsewhere\"\n").fails(2);

    // Other stages of the pipeline may be changed by the files of its profiles.
    let own = "[stages.raw]\nkind = \"download\"\nfrom = \"dataset.none\"\n";
    let said = says(&format!("{overlaid}{own}"), "[stages.raw]\nonly = [\"x\"]\n").fails(2).stderr();
    assert!(said.contains("no definition `dataset.none`") && said.contains("1 problem"), "{said}");
    let unknown =
        says(&plain.replace("\"card.toml\"", "{ path = \"card.toml\", stagse = true }"), "").fails(2).stderr();
    assert!(unknown.contains("did you mean `stages`?"), "{unknown}");
}
