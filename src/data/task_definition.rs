//! Datasets and tasks as definitions of a pipeline file: checked one by one, and looked up together.

use super::{card::Card, label_scheme::LabelScheme, task::Task};
use crate::config::{Diagnostic, Entry, Node, Span, Spec, from_node, suggest};

/// The definition tables that this layer brings: `[dataset.NAME]` and `[task.NAME]`.
pub fn definitions() -> [Entry; 2] {
    [Entry { check: Box::new(check_card), ..Entry::of::<Card>("dataset") }, Entry::of::<Task>("task")]
}

fn check_card(node: &Node) -> Vec<Diagnostic> {
    match from_node::<Card>(node) {
        Ok(card) => card.diagnostics(node),
        Err(found) => found,
    }
}

/// A task with everything that it names.
#[derive(Debug, Clone)]
pub struct TaskDefinition {
    pub name: String,
    pub task: Task,
    pub card: Card,
    /// The card's scheme that the task picks.
    pub scheme: LabelScheme,
}

/// Looks up the task `name`, which was used at `span`.
///
/// # Errors
/// Names that don't exist, with the nearest that do; whatever is wrong with the task or its dataset's card.
pub fn task(spec: &Spec, name: &str, span: Option<Span>) -> Result<TaskDefinition, Vec<Diagnostic>> {
    let node = spec.definition("task", name, span).map_err(|d| vec![d])?;
    let task: Task = from_node(node)?;
    let at = |key: &str| node.get(key).map_or(node.span, |n| n.span);
    let card_node = spec.definition("dataset", &task.dataset, Some(at("dataset"))).map_err(|d| vec![d])?;
    let card: Card = from_node(card_node)?;
    let found = card.diagnostics(card_node);
    if !found.is_empty() {
        return Err(found);
    }
    let Some(scheme) = card.schemes.get(&task.scheme).cloned() else {
        let unknown = format!("dataset `{}` has no label scheme `{}`", task.dataset, task.scheme);
        let known: Vec<&str> = card.schemes.keys().map(String::as_str).collect();
        let help = match suggest(&task.scheme, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("schemes of the card: `{}`", known.join("`, `")),
        };
        return Err(vec![Diagnostic::new(unknown).at(at("scheme")).help(help)]);
    };
    let found = task.diagnostics(node, &scheme.labels);
    if !found.is_empty() {
        return Err(found);
    }
    Ok(TaskDefinition { name: name.to_owned(), task, card, scheme })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{LoadOptions, Vocabulary, json_schema, load, unknown_to_schema};

    #[test]
    fn the_cards_are_read_as_pipeline_files_and_their_schema_knows_every_key() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        let include = [root.join("datasets/*.toml"), root.join("tests/fixtures/datasets/datasets.toml")];
        let task = "[task.t]\ntitle = 'T'\ndataset = 'ratings'\nscheme = '2'\nwords = { negative = 'bad' }\n\
                    limit = { train = 1, dev = 2, test = 3 }\nmetrics = ['accuracy', 'ua']\ninstruction = 'Say'\n";
        std::fs::write(
            &path,
            format!("include = {include:?}\n[pipeline]\nname = 'p'\n[stages.s]\nkind = 'any'\n{task}"),
        )
        .unwrap();

        let any = Entry {
            check: Box::new(|_| Vec::new()),
            schema: Box::new(|_| schemars::json_schema!(true)),
            ..Entry::of::<Task>("any")
        };
        let vocabulary = Vocabulary { definitions: definitions().into_iter().collect(), stage_kinds: vec![any] };
        let loaded = load(&path, &LoadOptions::default(), &vocabulary);
        let found: Vec<_> = loaded.diagnostics.iter().map(|d| &d.message).collect();
        assert!(found.is_empty(), "{found:?}");

        let spec = loaded.spec.unwrap();
        let schema = json_schema(&vocabulary);
        let mut seen = 0;
        for (kind, named) in &spec.definitions {
            for (name, node) in named {
                let mut of_one = schema["properties"][kind.as_str()]["additionalProperties"].clone();
                assert!(of_one.is_object(), "{kind} has a schema");
                of_one["$defs"] = schema["$defs"].clone();
                assert_eq!(unknown_to_schema(&of_one, node), [""; 0], "{kind}.{name}");
                seen += 1;
            }
        }
        assert!(seen > 10, "{seen}");
        assert_eq!(task_named(&spec, "t").scheme.labels, ["negative", "positive"]);
    }

    /// Diagnostics and the text that they stand at.
    fn placed(task: &str, card: &str) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        std::fs::write(&path, format!("[pipeline]\nname = 'p'\n[stages.s]\nkind = 'any'\n{task}\n{card}")).unwrap();
        let any = Entry {
            check: Box::new(|_| Vec::new()),
            schema: Box::new(|_| schemars::json_schema!(true)),
            ..Entry::of::<Task>("any")
        };
        let vocabulary = Vocabulary { definitions: definitions().into_iter().collect(), stage_kinds: vec![any] };
        let loaded = load(&path, &LoadOptions::default(), &vocabulary);
        let mut found = loaded.diagnostics;
        if let (true, Some(spec)) = (found.is_empty(), loaded.spec) {
            found = super::task(&spec, "t", None).unwrap_err();
        }
        let text = |d: &Diagnostic| loaded.sources.text(d.span.unwrap()).unwrap().to_owned();
        found.iter().map(|d| (d.message.clone(), text(d))).collect()
    }

    #[test]
    fn what_is_wrong_with_a_definition_is_placed_where_it_is_written() {
        let card = "[dataset.d]\ntitle = 'D'\nlanguage = 'English'\nconstruct = 'c'\nlicense = 'l'\nsplit = { train = 0.5, test = 0.5 }\n\
                    read = { format = 'json', rows = '{d}.{t}', columns = { 'a.b' = '{' } }\nfields = { text = 'x', label = 'y' }\n\
                    source.'x.json' = {}\nschemes.'1.5' = { labels = ['p', 'n'] }\n";
        let task = "[task.t]\ntitle = 'T'\ndataset = 'd'\nscheme = '1.5'\nwords = { q = 'r' }";
        let at = |card: &str, part: &str, place: &str| {
            let found = placed(task, card);
            let fits = |(message, text): &(String, String)| message.contains(part) && text == place;
            assert!(found.iter().any(fits), "{part}: {found:?}");
        };
        at(card, "is no path of keys", "'{'");
        let sound = card.replace("'{' }", "'{d}' }");
        at(&sound, "`q` is no class", "{ q = 'r' }");
        at(&sound.replace("'{d}.{t}'", "'a'"), "one value and not to rows", "'a'");
        at(&sound.replace("0.5 }", "0.6 }"), "sum to 1.1", "{ train = 0.5, test = 0.6 }");
        at(&sound.replace("['p', 'n']", "['p']"), "at least two classes", "['p']");
        at(
            &sound.replace("'p', 'n'] }", "'p', 'n'], expect.kept = { test = { z = 1 } } }"),
            "`z` is none",
            "{ test = { z = 1 } }",
        );
        at(&sound.replace(", label = 'y'", ""), "needs a label", "{ labels = ['p', 'n'] }");
    }

    fn task_named(spec: &Spec, name: &str) -> TaskDefinition {
        super::task(spec, name, None).unwrap_or_else(|found| panic!("{found:?}"))
    }
}
