//! Serde types from [`Node`]s, with the place of every problem and as many problems as can be found at once.
//!
//! Serde stops at the first error. So whatever an error concerns is taken out of the tree and the rest is read again,
//! until nothing is left to complain about. Errors that only follow from such an omission are not reported.

use std::{cell::RefCell, collections::HashSet};

use serde::de::DeserializeOwned;

use super::{
    diagnostic::Diagnostic, diagnostic_sink::MOST, node::Node, node_reader::Reader, read_error::Cause, suggest::suggest,
};

/// Reads `node` as a `T`.
///
/// # Errors
/// Every unknown key and wrong type of the tree, and one missing key per table; of very many the first.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Vec<Diagnostic>> {
    let omitted = RefCell::new(HashSet::new());
    let mut meant = HashSet::new();
    let mut found = Vec::new();
    // Every round reads the whole tree.
    for _ in 0..2 * MOST {
        let reader = Reader { node, name: None, index: None, omitted: &omitted };
        let error = match T::deserialize(reader) {
            Ok(value) if found.is_empty() => return Ok(value),
            Ok(_) => return Err(found),
            Err(error) => error.placed(node, || reader.subject()),
        };
        let Some(place) = &error.place else { return Err(found) };
        let culprit: *const Node = place.culprit;
        if !error.follows_from(&omitted.borrow(), &meant) {
            if let Cause::Field { word, known } = &error.cause
                && let Some(near) = suggest(word, known.iter().copied())
            {
                meant.insert((std::ptr::from_ref(place.table), near.to_owned()));
            }
            found.push(error.diagnostic(place));
        }
        if found.len() >= MOST || std::ptr::eq(culprit, node) || !omitted.borrow_mut().insert(culprit) {
            break;
        }
    }
    Err(found)
}

/// What [`from_node`] has to say against `node` as a `T`.
pub fn check<T: DeserializeOwned>(node: &Node) -> Vec<Diagnostic> {
    from_node::<T>(node).err().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::super::{
        diagnostic_report::render,
        node::{Span, Value},
        parse::parse_text,
        source_map::SourceMap,
        spanned::Spanned,
    };
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Method {
        name: String,
        rank: u32,
        #[serde(default)]
        rate: f64,
        #[serde(default)]
        layers: Vec<usize>,
        optimiser: Option<Optimiser>,
        schedule: Option<Schedule>,
        #[serde(default)]
        when: When,
        #[serde(default)]
        tags: BTreeMap<String, bool>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
    enum Optimiser {
        AdamW { beta: f64 },
        Sgd,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    enum Schedule {
        Constant,
        Linear { warmup: u32 },
    }

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(rename_all = "kebab-case")]
    enum When {
        #[default]
        Always,
        Never,
    }

    fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
        let mut sources = SourceMap::default();
        let file = sources.add("m.toml".into(), text);
        let (table, diagnostics) = parse_text(file, text);
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        let node = Node::new(Span { file, start: 0, end: 0 }, Value::Table(table));
        from_node(&node).map_err(|found| render(&found, &sources))
    }

    #[test]
    fn reads_what_serde_reads() {
        let method: Method = read(
            "name = 'lora'\nrank = 8\nrate = 1\nlayers = [1, 2]\noptimiser = { kind = 'adam-w', beta = 0.9 }\n\
             schedule.linear.warmup = 3\nwhen = 'never'\ntags.x = true",
        )
        .unwrap();
        assert_eq!(
            method,
            Method {
                name: "lora".into(),
                rank: 8,
                rate: 1.0,
                layers: vec![1, 2],
                optimiser: Some(Optimiser::AdamW { beta: 0.9 }),
                schedule: Some(Schedule::Linear { warmup: 3 }),
                when: When::Never,
                tags: [("x".to_owned(), true)].into(),
            }
        );
        assert_eq!(
            read::<Method>("name = 'x'\nrank = 1\nschedule = 'constant'").unwrap().schedule,
            Some(Schedule::Constant)
        );
    }

    #[test]
    fn all_problems_of_a_tree_come_at_once() {
        let diagnostics = read::<Method>(
            "name = 3\nrnak = 8\nrate = 'x'\nlayers = [1, -2, 'z']\nwhen = 'nevr'\n\
             schedule.lineal.warmup = 3\ntags = { a = 1, b = 2 }\n[optimiser]\nkind = 'adam-w'\nbeta = 'b'\nbetta = 2\n",
        )
        .unwrap_err();
        insta::assert_snapshot!(diagnostics, @r#"
     × `name` must be a string, not a whole number
      ╭─[m.toml:1:8]
    1 │ name = 3
      ·        ┬
      ·        ╰── a whole number
    2 │ rnak = 8
      ╰────

     × unknown key `rnak`
      ╭─[m.toml:2:1]
    1 │ name = 3
    2 │ rnak = 8
      · ────
    3 │ rate = 'x'
      ╰────
     help: did you mean `rank`?

     × `rate` must be a number, not a string
      ╭─[m.toml:3:8]
    2 │ rnak = 8
    3 │ rate = 'x'
      ·        ─┬─
      ·         ╰── a string
    4 │ layers = [1, -2, 'z']
      ╰────

     × item 2 of `layers` must be a whole number, 0 or more, not `-2`
      ╭─[m.toml:4:14]
    3 │ rate = 'x'
    4 │ layers = [1, -2, 'z']
      ·              ──
    5 │ when = 'nevr'
      ╰────

     × item 3 of `layers` must be a whole number, 0 or more, not a string
      ╭─[m.toml:4:18]
    3 │ rate = 'x'
    4 │ layers = [1, -2, 'z']
      ·                  ─┬─
      ·                   ╰── a string
    5 │ when = 'nevr'
      ╰────

     × `nevr` is no value of `when`
      ╭─[m.toml:5:8]
    4 │ layers = [1, -2, 'z']
    5 │ when = 'nevr'
      ·        ──────
    6 │ schedule.lineal.warmup = 3
      ╰────
     help: did you mean `never`?

     × `lineal` is no value of `schedule`
      ╭─[m.toml:6:10]
    5 │ when = 'nevr'
    6 │ schedule.lineal.warmup = 3
      ·          ──────
    7 │ tags = { a = 1, b = 2 }
      ╰────
     help: did you mean `linear`?

     × `a` must be true or false, not a whole number
      ╭─[m.toml:7:14]
    6 │ schedule.lineal.warmup = 3
    7 │ tags = { a = 1, b = 2 }
      ·              ┬
      ·              ╰── a whole number
    8 │ [optimiser]
      ╰────

     × `b` must be true or false, not a whole number
      ╭─[m.toml:7:21]
    6 │ schedule.lineal.warmup = 3
    7 │ tags = { a = 1, b = 2 }
      ·                     ┬
      ·                     ╰── a whole number
    8 │ [optimiser]
      ╰────

     × `beta` must be a number, not a string
       ╭─[m.toml:10:8]
     9 │ kind = 'adam-w'
    10 │ beta = 'b'
       ·        ─┬─
       ·         ╰── a string
    11 │ betta = 2
       ╰────

     × unknown key `betta`
       ╭─[m.toml:11:1]
    10 │ beta = 'b'
    11 │ betta = 2
       · ─────
       ╰────
     help: did you mean `beta`?
    "#);
    }

    #[test]
    fn a_missing_key_is_reported_once_and_not_where_it_follows() {
        let message = |text| read::<Method>(text).unwrap_err();
        let missing = message("name = 'x'");
        assert!(missing.contains("the key `rank` is missing"), "{missing}");
        let typo = message("name = 'x'\nrnak = 8");
        assert!(typo.contains("did you mean `rank`?") && !typo.contains("missing"), "{typo}");
        let wrong = message("name = 'x'\nrank = 'y'");
        assert!(wrong.contains("must be a whole number") && !wrong.contains("missing"), "{wrong}");
    }

    #[test]
    fn spanned_values_know_their_place_and_are_plain_elsewhere() {
        #[derive(Deserialize)]
        struct Holder {
            source: Spanned<String>,
            n: Option<Spanned<u8>>,
        }
        let text = "source = 'abc'\nn = 3";
        let holder: Holder = read(text).unwrap();
        let span = holder.source.span.unwrap();
        assert_eq!((&text[span.start as usize..span.end as usize], holder.source.as_str()), ("'abc'", "abc"));
        assert_eq!(holder.n.map(|n| n.value), Some(3));
        let diagnostic = read::<Holder>("source = 3").err().unwrap();
        assert!(diagnostic.contains("`source` must be a string, not a whole number"), "{diagnostic}");
        let json: Holder = serde_json::from_str(r#"{"source": "abc", "n": null}"#).unwrap();
        assert_eq!((json.source.value.as_str(), json.source.span), ("abc", None));
        assert_eq!(serde_json::to_string(&json.source).unwrap(), "\"abc\"");
    }

    #[test]
    fn the_root_itself_can_be_wrong() {
        let node = Node::new(Span::default(), Value::Int(3));
        assert_eq!(check::<Method>(&node)[0].message, "this value must be a table, not a whole number");
        assert_eq!(check::<i64>(&node), []);
    }
}
