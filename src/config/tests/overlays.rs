//! Profiles and `--set` that can't be laid over the file.

use super::*;

#[test]
fn profile_and_set_problems() {
    let text = r#"
[pipeline]
default_profile = "mini"
[method.lora]
rank = 8
[stages.s]
kind = "copy"
[profile.mni]
inherits = "loop"
method.lora.rnk = 2
[profile.loop]
inherits = "mni"
metod.x = 1
"#;
    let mut options = LoadOptions { profile: None, set: Vec::new() };
    for (path, value) in [
        ("method.lroa.rank", "1"),
        ("metod.lora.rank", "1"),
        ("method.lora.epoch", "1"),
        ("stages", "1"),
        ("a..b", "1"),
        ("pipeline.default_profile", "x"),
    ] {
        options.set.push((path.into(), value.into()));
    }
    insta::assert_snapshot!(bad_files(&[("p.toml", text)], &options), @r#"
     × there is no profile `mini`
      ╭─[p.toml:3:19]
    2 │ [pipeline]
    3 │ default_profile = "mini"
      ·                   ──────
    4 │ [method.lora]
      ╰────
     help: did you mean `mni`?

     × unknown table `metod`
       ╭─[p.toml:13:1]
    12 │ inherits = "mni"
    13 │ metod.x = 1
       · ─────
       ╰────
     help: did you mean `method`?

     × there is no `method.lroa`
      ╭─[--set:1:1]
    1 │ method.lroa.rank=1
      · ────────────────
    2 │ metod.lora.rank=1
      ╰────
     help: did you mean `lora`?

     × unknown table `metod`
      ╭─[--set:2:1]
    1 │ method.lroa.rank=1
    2 │ metod.lora.rank=1
      · ───────────────
    3 │ method.lora.epoch=1
      ╰────
     help: did you mean `method`?

     × unknown key `epoch`
      ╭─[--set:3:1]
    2 │ metod.lora.rank=1
    3 │ method.lora.epoch=1
      · ─────────────────
    4 │ stages=1
      ╰────
     help: did you mean `epochs`?

     × a path of at least two keys is needed
      ╭─[--set:4:1]
    3 │ method.lora.epoch=1
    4 │ stages=1
      · ──────
    5 │ a..b=1
      ╰────
     help: write `--set table.key=value`

     × `a..b` is no path of keys
      ╭─[--set:5:1]
    4 │ stages=1
    5 │ a..b=1
      · ────
    6 │ pipeline.default_profile=x
      ╰────
     help: write `--set table.key=value`

     × the profile is chosen before values are set
      ╭─[--set:6:1]
    5 │ a..b=1
    6 │ pipeline.default_profile=x
      · ────────────────────────
      ╰────
     help: use `--profile NAME`
    "#);
    let problems = bad_files(&[("p.toml", text)], &profile("mni"));
    assert!(problems.contains("profiles inherit from each other: mni -> loop -> mni"), "{problems}");
    assert!(problems.contains("unknown key `rnk`"), "{problems}");
}
