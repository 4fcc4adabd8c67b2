//! The merging of a normalised text's characters into pieces.

use std::collections::{BinaryHeap, HashMap};

use super::{
    model_proto::{PieceProto, PieceType},
    normalizer::Normalizer,
};
use crate::{
    base::error::{Error, Result},
    data::tokenizer::tokenizer_input::TokenizerInput,
};

/// A piece of the vocabulary.
pub struct Piece {
    pub text: String,
    /// Higher is merged first.
    score: f32,
    pub kind: PieceType,
}

/// The pieces of a model.
pub struct Pieces {
    all: Vec<Piece>,
    /// Ids of the pieces that text can become: not control, unknown or byte pieces.
    ids: HashMap<String, u32>,
    /// Ids of the 256 bytes, where unknown characters become bytes.
    bytes: Option<Vec<u32>>,
    unknown: u32,
}

impl Pieces {
    /// # Errors
    /// If a piece is of a kind that isn't known, or if one is missing that any text may need.
    pub fn new(protos: &[PieceProto], byte_fallback: bool) -> Result<Self> {
        let mut all = Vec::with_capacity(protos.len());
        for p in protos {
            // The two zeros are equal scores.
            all.push(Piece { text: p.text.clone(), score: p.score + 0.0, kind: PieceType::of(p)? });
        }
        let with_ids = || all.iter().zip(0u32..);
        let ids = with_ids()
            .filter(|(p, _)| matches!(p.kind, PieceType::Normal | PieceType::UserDefined | PieceType::Unused))
            .map(|(p, id)| (p.text.clone(), id))
            .collect();
        let unknown = with_ids().find(|(p, _)| p.kind == PieceType::Unknown).map(|(_, id)| id);
        let unknown = unknown.ok_or_else(|| Error::input("the model has no unknown piece"))?;
        let bytes = byte_fallback.then(|| byte_ids(&all)).transpose()?;
        Ok(Self { all, ids, bytes, unknown })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The piece of this id.
    pub fn get(&self, id: u32) -> Option<&Piece> {
        self.all.get(id as usize)
    }

    /// Pieces with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Piece)> {
        (0u32..).zip(&self.all)
    }

    fn is_unused(&self, id: u32) -> bool {
        self.all[id as usize].kind == PieceType::Unused
    }

    /// Ids of a text that `normalizer` has normalised.
    pub fn encode(&self, input: &TokenizerInput<'_>, normalizer: &Normalizer) -> Vec<u32> {
        let text = input.text();
        let mut symbols = symbols(input, normalizer);
        let mut agenda = BinaryHeap::new();
        // Where a piece that isn't to be used was cut when its merge was last thought of.
        let mut cuts: HashMap<&str, usize> = HashMap::new();
        let mut consider = |symbols: &[Symbol], agenda: &mut BinaryHeap<Merge>, left: usize, right: usize| {
            let (l, r) = (symbols[left], symbols[right]);
            if l.fixed || r.fixed {
                return;
            }
            let range = l.start..r.end;
            let found = self.ids.get(&text[range.clone()]).filter(|id| input.allows(**id, &range));
            let Some(&id) = found else { return };
            agenda.push(Merge { score: self.all[id as usize].score, left, right, len: r.end - l.start });
            if self.is_unused(id) {
                cuts.insert(&text[range], l.end - l.start);
            }
        };
        for right in 1..symbols.len() {
            consider(&symbols, &mut agenda, right - 1, right);
        }
        while let Some(Merge { left, right, len, .. }) = agenda.pop() {
            let (l, r) = (symbols[left], symbols[right]);
            let gone = l.start == l.end || r.start == r.end || r.end - l.start != len;
            if gone {
                continue;
            }
            symbols[left] = Symbol { end: r.end, after: r.after, ..l };
            symbols[right].end = r.start;
            if let Some(after) = r.after {
                symbols[after].before = Some(left);
                consider(&symbols, &mut agenda, left, after);
            }
            if let Some(before) = l.before {
                consider(&symbols, &mut agenda, before, left);
            }
        }
        let mut out = Output::default();
        for symbol in symbols.iter().filter(|s| s.start < s.end) {
            self.emit(&text[symbol.start..symbol.end], &cuts, &mut out);
        }
        out.ids
    }

    fn emit(&self, piece: &str, cuts: &HashMap<&str, usize>, out: &mut Output) {
        match (self.ids.get(piece), &self.bytes) {
            (Some(&id), _) => match cuts.get(piece).filter(|_| self.is_unused(id)) {
                Some(&at) => {
                    self.emit(&piece[..at], cuts, out);
                    self.emit(&piece[at..], cuts, out);
                }
                None => out.push(id),
            },
            (None, Some(bytes)) => piece.bytes().for_each(|b| out.push(bytes[b as usize])),
            (None, None) => out.push_unknown(self.unknown),
        }
    }
}

/// What a normalised text is cut into before merging.
fn symbols(input: &TokenizerInput<'_>, normalizer: &Normalizer) -> Vec<Symbol> {
    let text = input.text();
    let mut symbols = Vec::with_capacity(text.len());
    let mut start = 0;
    while let Some(c) = text[start..].chars().next() {
        let whole = normalizer.user_defined_at(input, start);
        let end = start + whole.unwrap_or(c.len_utf8());
        let index = symbols.len();
        symbols.push(Symbol {
            start,
            end,
            before: index.checked_sub(1),
            after: (end < text.len()).then_some(index + 1),
            fixed: whole.is_some(),
        });
        start = end;
    }
    symbols
}

fn byte_ids(pieces: &[Piece]) -> Result<Vec<u32>> {
    let mut ids = vec![None; 256];
    for (piece, id) in pieces.iter().zip(0u32..) {
        if let PieceType::Byte(byte) = piece.kind {
            ids[byte as usize] = Some(id);
        }
    }
    let missing = |byte| Error::input(format!("unknown characters become bytes, but there is no piece <0x{byte:02X}>"));
    ids.into_iter().enumerate().map(|(byte, id)| id.ok_or_else(|| missing(byte))).collect()
}

/// A part of the text that may still grow. Empty: it was merged into the one before.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    end: usize,
    before: Option<usize>,
    after: Option<usize>,
    /// A user-defined piece, which is never merged.
    fixed: bool,
}

/// Two neighbours whose concatenation is a piece of `len` bytes.
#[derive(Debug, Clone, Copy)]
struct Merge {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Ord for Merge {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Merge {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Merge {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Merge {}

/// Ids, with runs of unknown pieces as one.
#[derive(Default)]
struct Output {
    ids: Vec<u32>,
    after_unknown: bool,
}

impl Output {
    fn push(&mut self, id: u32) {
        self.ids.push(id);
        self.after_unknown = false;
    }

    fn push_unknown(&mut self, id: u32) {
        if !self.after_unknown {
            self.ids.push(id);
        }
        self.after_unknown = true;
    }
}
