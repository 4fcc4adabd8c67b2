//! The pages that `make reference` writes are what the program says of itself, and the documents' links lead somewhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn page(arguments: &[&str]) -> String {
    let printed = Command::new(env!("CARGO_BIN_EXE_emopipe")).arg("reference").args(arguments).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    String::from_utf8(printed.stdout).unwrap()
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn the_references_are_what_the_program_says() {
    for (name, arguments) in [("docs/reference.md", &[][..]), ("docs/cli.md", &["--cli"])] {
        let (written, said) = (read(name), page(arguments));
        let differs = written.lines().zip(said.lines()).position(|(a, b)| a != b);
        let line = differs.unwrap_or(written.lines().count().min(said.lines().count())) + 1;
        assert!(written == said, "{name} differs from line {line} on from what the program says: run `make reference`");
    }
}

#[test]
fn every_key_and_every_argument_has_a_meaning() {
    for page in [page(&[]), page(&["--cli"])] {
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert!(rows.len() > 50, "{} rows", rows.len());
        for row in rows {
            assert!(!row.ends_with("| |"), "without a meaning: {row}");
        }
    }
}

#[test]
fn no_developers_remark_is_in_the_references() {
    for remark in ["[`", "TODO", "crate::"] {
        for page in [page(&[]), page(&["--cli"])] {
            let found: Vec<_> = page
                .lines()
                .filter(|line| line.replace("one of [`", "").replace("- [`", "").replace(", [`", "").contains(remark))
                .collect();
            assert!(found.is_empty(), "`{remark}` in {found:#?}");
        }
    }
}

/// The documents that people read, and the folder of each.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    files.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name)));
    files
}

/// The text without what stands in blocks of code.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Where the links of a text lead, as they are written.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The fragments that a page's headings have.
fn fragments(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let fragment = |heading: &str| -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    let all: Vec<_> = headings.map(fragment).collect();
    let distinct: BTreeSet<_> = all.iter().cloned().collect();
    assert_eq!(all.len(), distinct.len(), "two headings with one name: {all:#?}");
    distinct
}

#[test]
fn the_links_of_the_documents_lead_somewhere() {
    let mut followed = 0;
    for document in documents() {
        let text = prose(&fs::read_to_string(&document).unwrap());
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
            if !fragment.is_empty() {
                let there = prose(&fs::read_to_string(&target).unwrap());
                assert!(fragments(&there).contains(fragment), "{}: {link}: no such heading", document.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 50, "{followed} links");
}
