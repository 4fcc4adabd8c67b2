//! Includes and files that can't be read.

use super::*;

#[test]
fn include_problems() {
    insta::assert_snapshot!(bad_files(&[
        ("p.toml", "include = ['a.toml', 'none.toml', 'x/*.toml', 3]\n[task.t]\ndataset = 'x'\n[stages.s]\nkind = 'copy'\n"),
        ("a.toml", "include = ['b.toml']\n[task.t]\ndataset = 'y'\n"),
        ("b.toml", "include = ['a.toml']\n"),
    ], &LoadOptions::default()), @r#"
     × can't read none.toml: No such file or directory (os error 2)
      ╭─[p.toml:1:22]
    1 │ include = ['a.toml', 'none.toml', 'x/*.toml', 3]
      ·                      ───────────
    2 │ [task.t]
      ╰────
     help: paths in `include` are relative to the file that includes

     × no file matches `x/*.toml`
      ╭─[p.toml:1:35]
    1 │ include = ['a.toml', 'none.toml', 'x/*.toml', 3]
      ·                                   ──────────
    2 │ [task.t]
      ╰────
     help: paths in `include` are relative to the file that includes

     × `include` must list strings or tables, not a whole number
      ╭─[p.toml:1:47]
    1 │ include = ['a.toml', 'none.toml', 'x/*.toml', 3]
      ·                                               ─
    2 │ [task.t]
      ╰────
     help: write "FILE" or `{ path = "FILE", stages = true }`

     × `task.t` is defined in two files
      ╭─[p.toml:2:7]
    1 │ include = ['a.toml', 'none.toml', 'x/*.toml', 3]
    2 │ [task.t]
      ·       ┬
      ·       ╰── defined again here
    3 │ dataset = 'x'
      ╰────
     help: it is first defined at a.toml:2:7; rename one of them, or put what differs into a profile

     × files include each other: a.toml -> b.toml -> a.toml
      ╭─[b.toml:1:12]
    1 │ include = ['a.toml']
      ·            ────┬───
      ·                ╰── this closes the circle
      ╰────
     help: move what both need into a third file
    "#);
}

#[test]
fn syntax_errors_of_several_files() {
    insta::assert_snapshot!(bad_files(&[
        ("p.toml", "include = ['a.toml', 'b.toml']\n[stages.s]\nkind = \n[stages.t]\nkind = 'copy'\ninputs = { x = 's' }\n[stages.t]\n"),
        ("a.toml", "[task.t]\ndataset = 'y\n"),
        ("b.toml", "[method.m]\nrnk = 1\n"),
    ], &LoadOptions::default()), @r#"
     × this isn't valid TOML: string values must be quoted, expected literal string
      ╭─[p.toml:3:8]
    2 │ [stages.s]
    3 │ kind = 
      ·        ▲
    4 │ [stages.t]
      ╰────

     × `t` is defined twice
      ╭─[p.toml:7:9]
    6 │ inputs = { x = 's' }
    7 │ [stages.t]
      ·         ┬
      ·         ╰── defined again here
      ╰────
     help: keep one of the two; a table's keys can't be spread over two headers of the same name

     × this isn't valid TOML: invalid literal string, expected `'`
      ╭─[a.toml:2:13]
    1 │ [task.t]
    2 │ dataset = 'y
      ·             ▲
      ╰────

     × unknown key `rnk`
      ╭─[b.toml:2:1]
    1 │ [method.m]
    2 │ rnk = 1
      · ───
      ╰────
     help: did you mean `rank`?
    "#);
}

#[test]
fn a_file_that_is_not_there() {
    let folder = Folder::new(&[]);
    let loaded = folder.load(&LoadOptions::default());
    assert!(loaded.spec.is_none());
    assert!(folder.problems(&loaded).contains("can't read p.toml"));
    let loaded = Folder::new(&[("p.toml", "")]).load(&LoadOptions::default());
    assert!(loaded.diagnostics[0].message.ends_with("has no stages"));
}
