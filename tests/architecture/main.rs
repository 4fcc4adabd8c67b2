//! Holds the code to what `ARCHITECTURE.md` says of it: layers, circles, who may touch the file system, and where things stand.

mod house;
mod paths;
mod rules;

use std::{collections::BTreeMap, fs, path::Path};

use house::House;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All sources below `src`, by their path there.
fn sources() -> BTreeMap<String, String> {
    fn read(folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    read(&root().join("src"), &mut found);
    assert!(found.len() > 100, "the sources weren't found");
    found
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_file_uses_a_layer_above_its_own() {
    none(&rules::upward(&House::new(&sources()), &rules::layers(&architecture())));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    none(&rules::circles(&House::new(&sources())));
}

#[test]
fn planning_asks_the_file_system_through_the_tracked_one_alone() {
    none(&rules::untracked(&sources(), &rules::planning_code(&architecture())));
}

#[test]
fn mod_files_have_no_logic() {
    none(&rules::logic_in_mod_files(&sources()));
}

#[test]
fn every_file_says_in_one_line_what_it_is() {
    none(&rules::without_first_line(&sources()));
}

#[test]
fn no_two_files_have_the_same_name() {
    none(&rules::equal_names(&sources()));
}

/// Each rule on sources that break it, and on the same sources mended.
mod made_up {
    use super::*;

    const MAP: &str = "
## Layers

| layer | what |
|---|---|
| `top` | commands |
| `middle` | things |
| `base` | errors |

Planning code: `middle/plan*`, `base/planned.rs`.

## More
";

    fn sources(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(name, text)| ((*name).to_owned(), format!("//! A file.\n{text}"))).collect()
    }

    fn upward(files: &[(&str, &str)]) -> Vec<String> {
        rules::upward(&House::new(&sources(files)), &rules::layers(MAP))
    }

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        rules::circles(&House::new(&sources(files)))
    }

    #[test]
    fn uses_upwards_are_found_however_they_are_written() {
        let top = ("top/mod.rs", "pub mod run;\npub use run::Run;");
        let run = ("top/run.rs", "use crate::base::Error;\npub struct Run(Error);");
        let base = |text| {
            upward(&[top, run, ("base/mod.rs", "pub mod error;\npub use error::Error;"), ("base/error.rs", text)])
        };
        assert!(base("pub struct Error;").is_empty());
        for bad in [
            "use crate::top::run::Run;",
            "use crate::top::Run;",
            "use crate::{top::{self, run::{Run, Other as O}}};",
            "fn f() { crate::top::run::go() }",
            "fn f() { println!(\"{}\", crate::top::run::N) }",
            "use super::super::top::Run;",
            "pub use crate::top::*;",
            "type T = Vec<crate::top::Run>;",
            "mod inner { use crate::top::Run; }",
            "#[cfg(test)] mod tests { use crate::top::Run; }",
        ] {
            let found = base(bad);
            assert!(!found.is_empty(), "{bad} isn't found");
            assert!(found[0].starts_with("src/base/error.rs:2: ") && found[0].contains("`top`"), "{found:?}");
        }
        let unknown = upward(&[("attic/mod.rs", "fn f() {}")]);
        assert!(unknown[0].contains("`attic` is no layer"), "{unknown:?}");
    }

    #[test]
    fn circles_are_found_also_through_a_parent_and_not_where_there_is_none() {
        let parent = ("m/mod.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;");
        let straight = [parent, ("m/a.rs", "use super::B;\npub struct A;"), ("m/b.rs", "pub struct B;")];
        assert!(circles(&straight).is_empty());
        for back in ["use super::A;", "use crate::m::A;", "fn f(_: super::a::A) {}", "use super::a;"] {
            let text = format!("{back}\npub struct B;");
            let found = circles(&[parent, straight[1], ("m/b.rs", &text)]);
            assert_eq!(found.len(), 1, "{back}: {found:?}");
            assert!(found[0].contains("src/m/a.rs") && found[0].contains("src/m/b.rs"), "{found:?}");
        }
        let with_parent =
            [("m.rs", "mod a;\npub use a::A;\npub struct P;"), ("m/a.rs", "use super::P;\npub struct A;")];
        assert!(circles(&with_parent).is_empty());
        let used = [("m.rs", "mod a;\nuse a::A;\npub struct P(A);"), ("m/a.rs", "use super::P;\npub struct A;")];
        assert_eq!(circles(&used).len(), 1);
        let tests = [parent, straight[1], ("m/b.rs", "pub struct B;\n#[cfg(test)]\nmod tests {\n use crate::m::A; }")];
        assert!(circles(&tests).is_empty(), "what a test needs ties nothing");
    }

    #[test]
    fn planning_code_that_asks_the_system_is_found() {
        let planned = rules::planning_code(MAP);
        assert_eq!(planned, ["middle/plan*", "base/planned.rs"]);
        let found = |name: &str, text: &str| rules::untracked(&sources(&[(name, text)]), &planned);
        for bad in [
            "fn f() { std::fs::read(p); }",
            "use std::fs;",
            "use std::{fs::File, io};",
            "fn f(p: &Path) -> bool { p.exists() }",
            "fn f(p: &Path) { p.canonicalize(); }",
            "fn f() { std::env::var(\"HOME\"); }",
            "use std::env;",
            "fn f() { glob::glob(\"*\"); }",
        ] {
            assert_eq!(found("middle/plan/graph.rs", bad).len(), 1, "{bad}");
            assert_eq!(found("base/planned.rs", bad).len(), 1, "{bad}");
            assert!(found("middle/run.rs", bad).is_empty());
            assert!(found("middle/plan.rs", &format!("#[cfg(test)]\nmod tests {{ {bad} }}")).is_empty());
        }
        assert!(
            found("middle/plan.rs", "fn f(fs: &TrackedFs) { fs.exists(p); }\nconst E: &str = env!(\"X\");").is_empty()
        );
    }

    #[test]
    fn mod_files_hold_declarations_alone() {
        let found = |text: &str| rules::logic_in_mod_files(&sources(&[("m/mod.rs", text)]));
        assert!(found("mod a;\n#[cfg(test)]\nmod tests;\n/// A.\npub use a::{A, B};\npub(crate) use a::C;").is_empty());
        for bad in
            ["fn f() {}", "pub struct A;", "mod a { }", "const N: u32 = 1;", "impl A {}", "macro_rules! m { () => {} }"]
        {
            assert_eq!(found(bad).len(), 1, "{bad}");
        }
        let registry = found("pub static REGISTRY: &[&dyn Kind] = &[&a::A, &b::B];");
        assert!(registry.is_empty(), "a registry is a list of what a folder has: {registry:?}");
    }

    #[test]
    fn files_without_a_first_line_and_with_equal_names_are_found() {
        let two =
            BTreeMap::from([("a/x.rs".to_owned(), "use y;".to_owned()), ("b/x.rs".to_owned(), "//! X.\n".to_owned())]);
        assert_eq!(
            rules::without_first_line(&two),
            ["src/a/x.rs doesn't begin with a line `//! ...` that says what it is"]
        );
        assert_eq!(rules::equal_names(&two), ["x.rs stands twice: src/a/x.rs, src/b/x.rs"]);
    }
}
