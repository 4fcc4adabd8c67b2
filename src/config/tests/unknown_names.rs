//! Words that nothing knows, and how often one problem is told.

use super::*;

#[test]
fn unknown_names_everywhere() {
    insta::assert_snapshot!(bad(r#"
[pipelin]
name = "x"
[pipeline]
nam = "x"
seeds = ["a"]
goals = ["trian"]
[task.sst]
datset = "x"
[stage.x]
kind = "copy"
[stages.train]
kind = "trian"
[stages.raw]
kind = "copy"
form = "x"
inputs = { a = "trane", b = 3, c = "train[" }
resources = { core = 1, memory = "many" }
"#), @r#"
     × unknown table `pipelin`
      ╭─[p.toml:2:2]
    1 │ 
    2 │ [pipelin]
      ·  ───────
    3 │ name = "x"
      ╰────
     help: did you mean `pipeline`?

     × unknown key `nam`
      ╭─[p.toml:5:1]
    4 │ [pipeline]
    5 │ nam = "x"
      · ───
    6 │ seeds = ["a"]
      ╰────
     help: did you mean `name`?

     × item 1 of `seeds` must be a whole number, not a string
      ╭─[p.toml:6:10]
    5 │ nam = "x"
    6 │ seeds = ["a"]
      ·          ─┬─
      ·           ╰── a string
    7 │ goals = ["trian"]
      ╰────

     × the goal `trian` is no stage
      ╭─[p.toml:7:10]
    6 │ seeds = ["a"]
    7 │ goals = ["trian"]
      ·          ───────
    8 │ [task.sst]
      ╰────
     help: did you mean `train`?

     × unknown key `datset`
       ╭─[p.toml:9:1]
     8 │ [task.sst]
     9 │ datset = "x"
       · ──────
    10 │ [stage.x]
       ╰────
     help: did you mean `dataset`?

     × unknown table `stage`
       ╭─[p.toml:10:2]
     9 │ datset = "x"
    10 │ [stage.x]
       ·  ─────
    11 │ kind = "copy"
       ╰────
     help: did you mean `stages`?

     × there is no stage kind `trian`
       ╭─[p.toml:13:8]
    12 │ [stages.train]
    13 │ kind = "trian"
       ·        ───────
    14 │ [stages.raw]
       ╰────
     help: did you mean `train`?

     × unknown key `form`
       ╭─[p.toml:16:1]
    15 │ kind = "copy"
    16 │ form = "x"
       · ────
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
       ╰────
     help: did you mean `from`?

     × there is no stage `trane`
       ╭─[p.toml:17:16]
    16 │ form = "x"
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
       ·                ───────
    18 │ resources = { core = 1, memory = "many" }
       ╰────
     help: did you mean `train`?

     × the input `b` must name stages, not a whole number
       ╭─[p.toml:17:29]
    16 │ form = "x"
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
       ·                             ─
    18 │ resources = { core = 1, memory = "many" }
       ╰────
     help: write `b = "stage"` or `b = ["stage", ...]`

     × `train[` is no reference to a stage
       ╭─[p.toml:17:36]
    16 │ form = "x"
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
       ·                                    ────────
    18 │ resources = { core = 1, memory = "many" }
       ╰────
     help: write `stage` or `stage[axis=value,axis=value]`

     × unknown key `core`
       ╭─[p.toml:18:15]
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
    18 │ resources = { core = 1, memory = "many" }
       ·               ────
       ╰────
     help: did you mean `cores`?

     × `memory` must be a size such as `2 GiB` or a number of bytes, not `many`
       ╭─[p.toml:18:34]
    17 │ inputs = { a = "trane", b = 3, c = "train[" }
    18 │ resources = { core = 1, memory = "many" }
       ·                                  ──────
       ╰────
    "#);
}

#[test]
fn problems_of_one_value_are_told_once_for_all_actions() {
    let folder =
        Folder::new(&[("p.toml", "[stages.s]\nkind = 'copy'\nmatrix = { x = [1, 2, 3] }\nfrom = '${x}'\nb = 1\n")]);
    let loaded = folder.load(&LoadOptions::default());
    let messages: Vec<_> = loaded.diagnostics.iter().map(|d| d.message.as_str()).collect();
    let wrong = "`from` must be a string, not a whole number";
    assert_eq!(messages, [wrong, wrong, wrong, "unknown key `b`"]);
}
