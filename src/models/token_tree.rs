//! Packed rows with shared beginnings.

/// A run of consecutive tokens that continues its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index of the first token in the row.
    pub start: usize,
    pub len: usize,
    /// The segment this one continues. Always earlier in the row.
    pub parent: Option<usize>,
}

/// One packed row. A token attends to the adapter's prefix (if any), to all tokens of its segment's ancestors, and
/// causally to its own segment; its position counts the tokens of its ancestors and those before it in its segment.
///
/// This is exact for causal models: hidden states of a shared beginning don't depend on what follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenTree {
    ids: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<Segment>,
}

impl TokenTree {
    /// A row without tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a segment that continues `parent` and returns its index.
    ///
    /// # Panics
    /// If `parent` isn't the index of an earlier segment.
    pub fn push(&mut self, parent: Option<usize>, ids: &[u32]) -> usize {
        let offset = parent.map_or(0, |p| self.depth(p));
        let start = self.ids.len();
        self.ids.extend_from_slice(ids);
        self.positions.extend((0..ids.len()).map(|i| (offset + i) as u32));
        self.segments.push(Segment { start, len: ids.len(), parent });
        self.segments.len() - 1
    }

    /// The same tree behind `len` places that hold no tokens (their ids are 0): all of it continues them.
    pub fn behind(&self, len: usize) -> Self {
        let mut tree = Self::new();
        let places = tree.push(None, &vec![0; len]);
        for Segment { start, len, parent } in &self.segments {
            tree.push(Some(parent.map_or(places, |parent| parent + 1)), &self.ids[*start..start + len]);
        }
        tree
    }

    /// Tokens from the root to the end of `segment`.
    pub fn depth(&self, segment: usize) -> usize {
        let s = self.segments[segment];
        s.len + s.parent.map_or(0, |p| self.depth(p))
    }

    /// `[tokens]`
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// `[tokens]`, counted from 0 at each root; an adapter's prefix isn't counted.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// In the order of the row.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Row index of the last token of `segment`.
    ///
    /// # Panics
    /// If the segment is empty.
    pub fn last(&self, segment: usize) -> usize {
        let s = self.segments[segment];
        assert!(s.len > 0, "an empty segment has no last token");
        s.start + s.len - 1
    }

    /// Tokens in the row.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it has no tokens.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_continue_the_parent() {
        let mut t = TokenTree::new();
        let root = t.push(None, &[1, 2, 3]);
        let a = t.push(Some(root), &[4, 5]);
        let b = t.push(Some(root), &[6]);
        t.push(Some(a), &[7]);
        assert_eq!(t.positions(), [0, 1, 2, 3, 4, 3, 5]);
        assert_eq!(t.last(b), 5);
        let behind = t.behind(2);
        assert_eq!(behind.ids(), [0, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(behind.positions(), [0, 1, 2, 3, 4, 5, 6, 5, 7]);
        assert_eq!(behind.segments()[4].parent, Some(a + 1));
    }
}
