//! Matrices that can't be.

use super::*;

#[test]
fn matrix_problems() {
    insta::assert_snapshot!(bad(r#"
[axes]
lr = 3
[task.sst]
dataset = "x"
[stages.a]
kind = "copy"
matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
[stages.b]
kind = "copy"
matrix = { task = "all" }
exclude = [{ task = "sst" }]
[stages.c]
kind = "copy"
matrix = "all"
"#), @r#"
     × the axis `lr` must be a list, not a whole number
      ╭─[p.toml:3:6]
    2 │ [axes]
    3 │ lr = 3
      ·      ─
    4 │ [task.sst]
      ╰────
     help: write `lr = [...]`

     × there is no task `sts`
      ╭─[p.toml:8:20]
    7 │ kind = "copy"
    8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
      ·                    ─────
    9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
      ╰────
     help: did you mean `sst`?

     × the axis `method` has no values, so the matrix is empty
      ╭─[p.toml:8:44]
    7 │ kind = "copy"
    8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
      ·                                            ─────
    9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
      ╰────
     help: define a `[method.NAME]`, or leave the axis out

     × the axis `x` has no values, so the matrix is empty
      ╭─[p.toml:8:67]
    7 │ kind = "copy"
    8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
      ·                                                                   ──
    9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
      ╰────
     help: give it a value, or leave the axis out

     × `1` is listed twice for the axis `y`
      ╭─[p.toml:8:79]
    7 │ kind = "copy"
    8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
      ·                                                                               ─
    9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
      ╰────
     help: keep one of the two

     × a value of the axis `z` can't be a list
      ╭─[p.toml:8:88]
    7 │ kind = "copy"
    8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
      ·                                                                                        ──
    9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
      ╰────
     help: axis values are strings, numbers, true and false

     × `tsk` is no axis of this stage
       ╭─[p.toml:9:14]
     8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
     9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
       ·              ───
    10 │ [stages.b]
       ╰────
     help: did you mean `task`?

     × there is no task `ssst`
       ╭─[p.toml:9:38]
     8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
     9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
       ·                                      ──────
    10 │ [stages.b]
       ╰────
     help: did you mean `sst`?

     × `exclude` must list tables of axes and values, not a whole number
       ╭─[p.toml:9:48]
     8 │ matrix = { task = ["sts", "sst"], method = "all", lr = "all", x = [], y = [1, 1], z = [[]] }
     9 │ exclude = [{ tsk = "sst" }, { task = "ssst" }, 3]
       ·                                                ─
    10 │ [stages.b]
       ╰────
     help: write `exclude = [{ task = "x" }]`

     × `exclude` drops every combination of the matrix of `b`
       ╭─[p.toml:13:11]
    12 │ matrix = { task = "all" }
    13 │ exclude = [{ task = "sst" }]
       ·           ──────────────────
    14 │ [stages.c]
       ╰────
     help: drop fewer, or leave the stage out

     × `matrix` must be a table of axes, not a string
       ╭─[p.toml:16:10]
    15 │ kind = "copy"
    16 │ matrix = "all"
       ·          ─────
       ╰────
     help: write `matrix = { task = "all" }`
    "#);
}

#[test]
fn all_of_an_axis_without_a_list() {
    let problems = bad("[axes]\nrate = [1]\n[stages.a]\nkind = 'copy'\nmatrix = { rates = 'all' }");
    assert!(problems.contains("there is no list of all values of `rates`"), "{problems}");
    assert!(problems.contains("did you mean `rate`?"), "{problems}");
}
