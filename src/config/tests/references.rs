//! References and interpolations that lead nowhere.

use super::*;

#[test]
fn reference_problems() {
    insta::assert_snapshot!(bad(r#"
[task.sst]
dataset = "x"
[stages.a]
kind = "copy"
inputs = { x = "c" }
[stages.b]
kind = "copy"
inputs = { x = "a" }
[stages.c]
kind = "copy"
matrix = { task = "all" }
inputs = { x = "b", y = "c" }
[stages.d]
kind = "copy"
inputs = { x = "c[tsk=sst]", y = "c[task=sts]" }
"#), @r#"
     × stages need each other in a circle: a -> c -> b -> a
      ╭─[p.toml:6:16]
    5 │ kind = "copy"
    6 │ inputs = { x = "c" }
      ·                ─┬─
      ·                 ╰── `a` needs `c` here
    7 │ [stages.b]
      ╰────
     help: take one of these away: `a` needs `c` at p.toml:6:16; `c` needs `b` at 
           p.toml:13:16; `b` needs `a` at p.toml:9:16

     × the stage `c` has no axis `tsk`
       ╭─[p.toml:16:16]
    15 │ kind = "copy"
    16 │ inputs = { x = "c[tsk=sst]", y = "c[task=sts]" }
       ·                ────────────
       ╰────
     help: did you mean `task`?

     × the stage `c` has no action for task `sts`
       ╭─[p.toml:16:34]
    15 │ kind = "copy"
    16 │ inputs = { x = "c[tsk=sst]", y = "c[task=sts]" }
       ·                                  ─────────────
       ╰────
     help: did you mean `sst`?
    "#);
}

#[test]
fn references_that_no_action_answers() {
    insta::assert_snapshot!(bad(r#"
[stages.a]
kind = "copy"
matrix = { x = [1, 2], y = [1, 2] }
exclude = [{ x = 1, y = 2 }]
[stages.b]
kind = "copy"
matrix = { x = [1, 2] }
inputs = { a = "a[y=2]", b = "a" }
"#), @r#"
     × `b` needs `a[x=1,y=2]`, which isn't there
      ╭─[p.toml:9:16]
    8 │ matrix = { x = [1, 2] }
    9 │ inputs = { a = "a[y=2]", b = "a" }
      ·                ────────
      ╰────
     help: axes that two stages share must agree: widen the matrix of the one, or exclude from the other
    "#);
}

#[test]
fn interpolation_problems() {
    insta::assert_snapshot!(bad(r#"
[params]
rate = 1
[task.sst]
dataset = "x"
labels = ["a"]
[task.mosi]
dataset = "y"
[method.lora]
rank = 8
[stages.train]
kind = "train"
matrix = { task = "all", x = [1] }
method = "${tsk}"
seed = "${task.dataset}"
note = "a ${task.labels} ${params.rat} ${x.y} ${params}"
export = "out/${task"
"#), @r#"
     × `tsk` means nothing here
       ╭─[p.toml:14:11]
    13 │ matrix = { task = "all", x = [1] }
    14 │ method = "${tsk}"
       ·           ───┬──
       ·              ╰── `tsk` is no axis of this stage's matrix
    15 │ seed = "${task.dataset}"
       ╰────
     help: did you mean `task`?

     × `params` has no key `rat`
       ╭─[p.toml:16:26]
    15 │ seed = "${task.dataset}"
    16 │ note = "a ${task.labels} ${params.rat} ${x.y} ${params}"
       ·                          ─────────────
    17 │ export = "out/${task"
       ╰────
     help: did you mean `rate`? (`params` is written at p.toml:2:1)

     × `x` is a plain axis, its values have no fields
       ╭─[p.toml:16:40]
    15 │ seed = "${task.dataset}"
    16 │ note = "a ${task.labels} ${params.rat} ${x.y} ${params}"
       ·                                        ──────
    17 │ export = "out/${task"
       ╰────
     help: write `${x}`

     × `params` names no parameter
       ╭─[p.toml:16:47]
    15 │ seed = "${task.dataset}"
    16 │ note = "a ${task.labels} ${params.rat} ${x.y} ${params}"
       ·                                               ─────────
    17 │ export = "out/${task"
       ╰────
     help: parameters are the keys of the table `[params]`, named as `${params.key}`

     × `${` without its `}`
       ╭─[p.toml:17:15]
    16 │ note = "a ${task.labels} ${params.rat} ${x.y} ${params}"
    17 │ export = "out/${task"
       ·               ──────
       ╰────
     help: write `${name}`, or `$${` for the characters `${`
    "#);
}
