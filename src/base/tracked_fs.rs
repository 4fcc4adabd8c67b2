//! The file system and the environment as planning sees them: every question is noted with its answer, so that a later
//! process can tell at a glance whether it would plan the same.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    digest::Digest,
    error::{IoAt, Result},
    file_mark::{Hashed, LARGE, Mark, Memory},
    observations::{Answers, Observations, digest_of, matching},
    regular_file::{regular, text_of},
};

/// Answers questions about the file system and the environment, and notes them.
#[derive(Debug, Default)]
pub struct TrackedFs {
    notes: Mutex<Notes>,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Notes {
    observed: Observations,
    /// Whether one question has had two answers.
    contradictory: bool,
    /// Files that were read as text: those that say what to do.
    texts: BTreeSet<PathBuf>,
}

impl TrackedFs {
    /// All answers so far; none where some contradict each other because files changed in the meantime.
    pub fn observed(&self) -> Option<Observations> {
        let notes = self.notes();
        (!notes.contradictory).then(|| notes.observed.clone())
    }

    /// The files that were read as text: those that say what to do, and not what with.
    pub fn texts(&self) -> Vec<PathBuf> {
        self.notes().texts.iter().cloned().collect()
    }

    /// The text of a regular file of at most 16 MiB.
    ///
    /// # Errors
    /// A file that can't be read, isn't a regular one, is larger, or isn't UTF-8.
    pub fn read_to_string(&self, path: &Path) -> io::Result<String> {
        let text = text_of(path);
        if text.is_ok() {
            self.notes().texts.insert(path.to_owned());
        }
        match &text {
            Ok(text) => self.note(|observed| &mut observed.contents, path, Some(Digest::of(text.as_bytes()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.note(|observed| &mut observed.contents, path, None),
            Err(_) => {}
        }
        text
    }

    /// The digest of a file, which is read once however often it is asked for.
    ///
    /// # Errors
    /// A file that can't be read or isn't a regular one.
    pub fn digest(&self, path: &Path) -> Result<Digest> {
        if let Some(Some(known)) = self.notes().observed.contents.get(path) {
            return Ok(*known);
        }
        regular(path).io_at("read", path)?;
        let digest = Digest::of_file(path)?;
        self.note(|observed| &mut observed.contents, path, Some(digest));
        Ok(digest)
    }

    /// The digest of a file, if there is one.
    ///
    /// # Errors
    /// A file that is there and can't be read.
    pub fn digest_if_file(&self, path: &Path) -> Result<Option<Digest>> {
        if path.is_file() {
            return self.digest(path).map(Some);
        }
        self.note(|observed| &mut observed.contents, path, None);
        Ok(None)
    }

    /// A hash of a file, if there is one. It is what `compute` gives, which isn't asked again for a large file that is what it
    /// was; `kind` tells several hashes of one file apart.
    ///
    /// # Errors
    /// A file that is there and can't be read.
    pub fn hash_if_file(
        &self,
        path: &Path,
        kind: &str,
        compute: impl Fn(&Path) -> Result<String>,
    ) -> Result<Option<String>> {
        if !path.is_file() {
            self.note(|observed| &mut observed.contents, path, None);
            return Ok(None);
        }
        let mark = Mark::of(path).io_at("read", path)?;
        if mark.size < LARGE {
            self.digest(path)?;
            return compute(path).map(Some);
        }
        let settled = mark.is_settled();
        let name = format!("{kind}:{}", path.display());
        let known = self.memory().hashes.get(&name).filter(|known| settled && known.mark == mark).cloned();
        let hash = match known {
            Some(known) => known.hash,
            None => {
                let hash = compute(path)?;
                // What changed while it was read has no hash.
                if settled && Mark::of(path).io_at("read", path)? == mark {
                    let mut memory = self.memory();
                    memory.hashes.insert(name, Hashed { mark: mark.clone(), hash: hash.clone() });
                    memory.changed = true;
                }
                hash
            }
        };
        self.note(|observed| &mut observed.marks, path, settled.then_some(mark));
        Ok(Some(hash))
    }

    /// Reads what an earlier process remembered in `file`, where [`TrackedFs::remember`] will leave it again.
    pub fn recall(&self, file: PathBuf) {
        let known = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        *self.memory() = Memory { file: Some(file), hashes: known.unwrap_or_default(), changed: false };
    }

    /// Keeps the hashes of large files for later processes, where the folder for it is there. They may get lost.
    pub fn remember(&self) {
        let memory = self.memory();
        let Some(file) = memory.file.as_ref().filter(|_| memory.changed) else { return };
        let keep = || -> io::Result<()> {
            let mut new = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
            serde_json::to_writer(&mut new, &memory.hashes)?;
            new.persist(file)?;
            Ok(())
        };
        if let Err(e) = keep() {
            tracing::debug!("hashes of large files are not remembered: {e}");
        }
    }

    /// Where a path leads when links are followed, if anywhere.
    pub fn real(&self, path: &Path) -> Option<PathBuf> {
        let real = path.canonicalize().ok();
        self.note(|observed| &mut observed.places, path, real.clone());
        real
    }

    /// The paths that match a pattern, sorted, and those that couldn't be looked at.
    ///
    /// # Errors
    /// What is no pattern, or one with too many stars.
    pub fn matching(&self, pattern: &str) -> Result<(Vec<PathBuf>, Vec<glob::GlobError>), glob::PatternError> {
        let (found, unreadable) = matching(pattern)?;
        let mut notes = self.notes();
        let before = notes.observed.matches.insert(pattern.to_owned(), found.clone());
        notes.contradictory |= before.is_some_and(|before| before != found);
        Ok((found, unreadable))
    }

    /// The digest of an environment variable's value, if it is set.
    pub fn variable(&self, name: &str) -> Option<Digest> {
        self.value(name).as_deref().map(digest_of)
    }

    /// The value of an environment variable, if it is set. Its digest is noted: for a secret, ask [`TrackedFs::is_set`].
    pub fn value(&self, name: &str) -> Option<OsString> {
        let value = std::env::var_os(name);
        self.notes().observed.variables.insert(name.to_owned(), value.as_deref().map(digest_of));
        value
    }

    /// Whether an environment variable is set, whatever its value.
    pub fn is_set(&self, name: &str) -> bool {
        let set = std::env::var_os(name).is_some();
        self.notes().observed.set.insert(name.to_owned(), set);
        set
    }

    /// Whether there is a file, whatever its content.
    pub fn is_file(&self, path: &Path) -> bool {
        let found = path.is_file();
        self.note(|observed| &mut observed.files, path, found);
        found
    }

    /// The working directory, which only decides how paths are shown to people: so it isn't noted.
    pub fn working_folder(&self) -> Option<PathBuf> {
        std::env::current_dir().ok()
    }

    fn note<A: PartialEq>(&self, of: impl Fn(&mut Observations) -> &mut Answers<A>, path: &Path, answer: A) {
        let mut notes = self.notes();
        let answers = of(&mut notes.observed);
        let contradicts = answers.get(path).is_some_and(|before| *before != answer);
        answers.insert(path.to_owned(), answer);
        notes.contradictory |= contradicts;
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
