//! What of an export's folder is emopipe's: a file beside the exported files, with a line for each. It is committed with
//! them, so that a clone knows them, too.
//!
//! ```toml
//! "table-2.csv" = { by = "paper::tables", blake3 = "3f2a9c..." }
//! ```
//!
//! Lines are sorted and say nothing of when and where, so that the same exports give the same file, and changes of different
//! files merge.

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::names;
use crate::base::digest::Digest;
use crate::base::{
    durable,
    error::{Error, Result},
};

/// The name of the file. No artifact may have a file of this name.
pub const FILE: &str = ".emopipe.toml";
const HEAD: &str =
    "# The files here that emopipe wrote, and what made them. Commit it with them: what it names may be replaced.\n\n";

/// The files of a folder that emopipe wrote, by their names below it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub files: BTreeMap<String, Made>,
}

/// One file, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Pipeline, profile and action: `paper::tables`.
    pub by: String,
    pub blake3: Digest,
}

impl Manifest {
    /// The manifest of a folder; empty where there is none.
    ///
    /// # Errors
    /// Where it isn't a file, can't be read, or doesn't say what a manifest says: see [`Manifest::parse`].
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        if fs::metadata(&path).is_ok_and(|m| !m.is_file()) {
            return Err(Error::input(format!("{} isn't a file", path.display())).help("move it away"));
        }
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|problem| {
                Error::input(format!("{}: {problem}", path.display()))
                    .help("settle what a merge left open, or remove the file and run with `--overwrite`")
            }),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Self::default()),
            Err(e) => Err(Error::io("read", &path, &e)),
        }
    }

    /// # Errors
    /// What is wrong with the text. Files are removed by what it says, so a name that leaves the folder is an error.
    pub fn parse(text: &str) -> Result<Self, String> {
        let files: BTreeMap<String, Made> = toml::from_str(text).map_err(|e| e.to_string())?;
        for name in files.keys() {
            if let Some(why) = names::why_impossible(name) {
                return Err(format!("{name:?} can't be an exported file: {why}"));
            }
        }
        Ok(Self { files })
    }

    /// The same manifest always gives the same text.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (name, Made { by, blake3 }) in &self.files {
            let (name, by) = (toml_edit::Key::new(name), toml_edit::Value::from(by));
            let name = name.display_repr().into_owned();
            text.push_str(&format!("{name} = {{ by = {by}, blake3 = \"{blake3}\" }}\n"));
        }
        text
    }

    /// Writes the manifest of a folder; one without files is none.
    ///
    /// # Errors
    /// Where it can't be written, or can't be removed.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        if self.files.is_empty() {
            durable::remove(&path)?;
            return durable::sync_folder(folder);
        }
        durable::replace(&path, durable::ORDINARY, |file| file.write_all(self.text().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(files: &[(&str, &str)]) -> Manifest {
        let made = |by: &str| Made { by: by.to_owned(), blake3: Digest::of(b"x") };
        Manifest { files: files.iter().map(|(name, by)| ((*name).to_owned(), made(by))).collect() }
    }

    #[test]
    fn what_is_written_is_read_whatever_the_names() {
        let names =
            [("a.b", "p::s"), ("sub/c d", "p:x:s[k=\"v\",l='w']"), ("é#=", "tab\tand\\"), ("\"quoted\"", "''' \"\"\"")];
        let before = manifest(&names);
        assert_eq!(Manifest::parse(&before.text()), Ok(before.clone()));
        let dir = tempfile::tempdir().unwrap();
        before.write(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), before);
        Manifest::default().write(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(Manifest::read(&dir.path().join("none")).unwrap(), Manifest::default());
    }

    #[test]
    fn each_file_has_a_line_of_its_own_and_lines_are_sorted() {
        let text = manifest(&[("b", "p::two"), ("a", "p::one")]).text();
        let x = Digest::of(b"x");
        assert_eq!(
            text.strip_prefix(HEAD).unwrap(),
            format!("a = {{ by = \"p::one\", blake3 = \"{x}\" }}\nb = {{ by = \"p::two\", blake3 = \"{x}\" }}\n")
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let x = Digest::of(b"x");
        for text in [
            "<<<<<<< ours\n".to_owned(),
            "a = 1\n".to_owned(),
            format!("a = {{ by = \"p\", blake3 = \"{x}\", more = 1 }}\n"),
            "a = { by = \"p\", blake3 = \"12\" }\n".to_owned(),
            format!("\"../a\" = {{ by = \"p\", blake3 = \"{x}\" }}\n"),
            format!("\"/etc/a\" = {{ by = \"p\", blake3 = \"{x}\" }}\n"),
        ] {
            assert!(Manifest::parse(&text).is_err(), "{text}");
        }
    }
}
