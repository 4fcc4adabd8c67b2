//! Keeps what opens doors out of what people read: a server may repeat in its answers what it was sent.

use super::{source::Source, url_text::credentials, watch::Watch};
use crate::base::error::{Error, Result};

/// Texts that must not be shown.
#[derive(Debug, Default, Clone)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Those of a source's addresses, of the hub and of the package index.
    pub fn of(source: &Source) -> Self {
        let mut all = source.credentials();
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            all.extend(std::env::var(name).ok().filter(|token| !token.trim().is_empty()));
        }
        if let Some(index) = std::env::var("PIP_INDEX_URL").ok().and_then(|text| text.parse().ok()) {
            all.extend(credentials(&index));
        }
        // Longer ones first, which may hold shorter ones.
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(all)
    }

    fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "[secret]"))
    }

    /// The result; an error says `[secret]` instead of each secret.
    ///
    /// # Errors
    /// That of the result, without the secrets.
    pub fn hide_in<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|e| Error { message: self.hide(&e.message), help: e.help.map(|help| self.hide(&help)), ..e })
    }
}

/// Passes on what is told, without the secrets.
pub(super) struct Discreet<'a> {
    pub watch: &'a dyn Watch,
    pub secrets: &'a Secrets,
}

impl Watch for Discreet<'_> {
    fn bytes(&self, done: u64, total: Option<u64>) {
        self.watch.bytes(done, total);
    }

    fn note(&self, text: &str) {
        self.watch.note(&self.secrets.hide(text));
    }

    fn stop(&self) -> bool {
        self.watch.stop()
    }
}
