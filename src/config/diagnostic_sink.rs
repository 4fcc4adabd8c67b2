//! Collects diagnostics, and bounds what a file can make of itself.

use std::collections::HashSet;

use super::{
    diagnostic::Diagnostic,
    node::{Node, Span, Value},
};

/// Problems that are kept; whoever has more mends these first.
pub(super) const MOST: usize = 100;

/// Bytes that the values of all actions may take together, each value counting [`NODE`] bytes and its text.
const MOST_BYTES: usize = 256 << 20;

/// What a value takes beside its text, roughly.
pub(super) const NODE: usize = 64;

/// Collects diagnostics, each once, and bounds what a file can make of itself.
#[derive(Default)]
pub(super) struct Sink {
    found: Vec<Diagnostic>,
    seen: HashSet<(String, Option<Span>)>,
    /// Problems beyond those that are kept.
    more: usize,
    /// Bytes of the values that were made so far.
    made: usize,
}

impl Sink {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.more += 1;
        } else if self.seen.insert((diagnostic.message.clone(), diagnostic.span)) {
            self.found.push(diagnostic);
        }
    }

    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        diagnostics.into_iter().for_each(|d| self.push(d));
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether there are more problems than anyone mends at once: what only finds further ones can be left out.
    pub fn is_full(&self) -> bool {
        self.found.len() >= MOST
    }

    /// Notes that a copy of `node` is made; whether there is room for it. A file whose values multiply is told so once.
    pub fn make(&mut self, node: &Node) -> bool {
        self.make_bytes(size(node), node.span)
    }

    /// As [`Self::make`], for so many bytes of text at `span`.
    pub fn make_bytes(&mut self, bytes: usize, span: Span) -> bool {
        if self.made > MOST_BYTES {
            return false;
        }
        self.made = self.made.saturating_add(bytes);
        if self.made > MOST_BYTES {
            self.push(
                Diagnostic::new(format!(
                    "with all names filled in, this pipeline is larger than {} MiB",
                    MOST_BYTES >> 20
                ))
                .at(span)
                .label("the limit is reached here")
                .help("put long texts into files, list fewer values in matrices, or name a value fewer times"),
            );
        }
        self.made <= MOST_BYTES
    }

    /// All of them: those without a place first, then by place; and how many there are beside.
    pub fn finish(mut self) -> (Vec<Diagnostic>, usize) {
        self.found.sort_by_key(|d| d.span.map(|s| (s.file, s.start)));
        (self.found, self.more)
    }
}

fn size(node: &Node) -> usize {
    NODE + match &node.value {
        Value::Str(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Table(table) => table.iter().map(|(key, (_, child))| NODE + key.len() + size(child)).sum(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sink_keeps_each_problem_once_and_in_order() {
        let mut sink = Sink::default();
        let at = |start| Span { file: 0, start, end: start };
        sink.extend([Diagnostic::new("b").at(at(5)), Diagnostic::new("a").at(at(1)), Diagnostic::new("b").at(at(5))]);
        sink.push(Diagnostic::new("c"));
        let messages: Vec<_> = sink.finish().0.into_iter().map(|d| d.message).collect();
        assert_eq!(messages, ["c", "a", "b"]);
    }
}
