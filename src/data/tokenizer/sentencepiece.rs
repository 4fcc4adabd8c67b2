//! `tokenizer.model`: a SentencePiece model (Kudo & Richardson 2018) with byte-pair encoding.
//!
//! The file is a protobuf, `sentencepiece_model.proto` in the SentencePiece repository. Text is normalised, cut into
//! characters, and neighbours are merged: of all neighbours whose concatenation is a piece, always those of the highest
//! score, the leftmost of equals. Characters that are no piece become their UTF-8 bytes, where the model has byte pieces.

use std::{
    collections::{BTreeMap, BinaryHeap, HashMap},
    path::{Path, PathBuf},
};

use prost::Message;

use super::{
    Specials, TextModel, Tokenizer,
    json::{chat_template, context},
    model::{Files, Origin},
};
use crate::error::{At, Error, IoAt, Result};

const FILE: &str = "tokenizer.model";

/// How pieces write a space.
const SPACE: char = '\u{2581}';

/// How an id that no piece has is shown.
const NOTHING: &str = "\u{fffd}";

/// `TrainerSpec.ModelType`
const UNIGRAM: i32 = 1;
const BPE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<PieceProto>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<NormalizerSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct PieceProto {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(float, tag = "2")]
    score: f32,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, tag = "24")]
    treat_whitespace_as_suffix: bool,
    #[prost(bool, tag = "35")]
    byte_fallback: bool,
    #[prost(int32, optional, tag = "40")]
    unk_id: Option<i32>,
    #[prost(int32, optional, tag = "41")]
    bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42")]
    eos_id: Option<i32>,
    #[prost(int32, optional, tag = "43")]
    pad_id: Option<i32>,
    #[prost(string, optional, tag = "44")]
    unk_surface: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", tag = "2")]
    precompiled_charsmap: Vec<u8>,
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}

/// `ModelProto.SentencePiece.Type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    /// Used in merging only: it falls apart into what it was merged from.
    Unused,
    Byte(u8),
}

impl Kind {
    fn of(piece: &PieceProto) -> Result<Self> {
        let wrong = |what: String| Error::input(format!("the piece `{}` {what}", piece.text));
        Ok(match piece.kind.unwrap_or(1) {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => {
                let digits = piece.text.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
                let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
                Self::Byte(byte.ok_or_else(|| wrong("is no byte".to_owned()))?)
            }
            other => return Err(wrong(format!("is of unknown type {other}"))),
        })
    }
}

pub fn find(files: &Files) -> Result<Option<&Path>> {
    Ok(files.get(FILE).map(PathBuf::as_path))
}

pub fn load(path: &Path, origin: &Origin<'_>) -> Result<TextModel> {
    let bytes = std::fs::read(path).io_at("read", path)?;
    let damaged = |what: String| {
        Error::input(format!("{FILE}: not a whole SentencePiece model ({what})"))
            .help("the file is damaged or cut short: fetch it again, and compare it with its publisher's hash")
    };
    let proto = ModelProto::decode(bytes.as_slice()).map_err(|e| damaged(e.to_string()))?;
    // Both stand behind the pieces, so that a file that ends between two pieces lacks them.
    let trainer = proto.trainer.ok_or_else(|| damaged("it has no trainer specification".to_owned()))?;
    let normalizer = proto.normalizer.ok_or_else(|| damaged("it has no normalizer specification".to_owned()))?;
    let behind = origin.convention.map_or(&[][..], |c| &c.specials);
    let tokenizer = SentencePiece::new(&proto.pieces, &trainer, &normalizer, behind).at(FILE)?;
    Ok(TextModel {
        kind: format!("{FILE} BPE"),
        named: named(&proto.pieces, &trainer),
        tokenizer: Box::new(tokenizer),
        chat_template: chat_template(origin.files)?.or_else(|| origin.convention.map(|c| c.chat_template.clone())),
        context: context(origin.files)?,
        separate_answers: origin.convention.is_some_and(|c| c.separate_answers),
    })
}

/// The tokens that chat templates know by name.
fn named(pieces: &[PieceProto], trainer: &TrainerSpec) -> BTreeMap<String, String> {
    [
        ("unk_token", trainer.unk_id.unwrap_or(0)),
        ("bos_token", trainer.bos_id.unwrap_or(1)),
        ("eos_token", trainer.eos_id.unwrap_or(2)),
        ("pad_token", trainer.pad_id.unwrap_or(-1)),
    ]
    .into_iter()
    .filter_map(|(name, id)| Some((name.to_owned(), pieces.get(usize::try_from(id).ok()?)?.text.clone())))
    .collect()
}

struct Piece {
    text: String,
    /// Higher is merged first.
    score: f32,
    kind: Kind,
}

/// A byte-pair encoding with SentencePiece's rules.
struct SentencePiece {
    normalizer: Normalizer,
    pieces: Vec<Piece>,
    /// Ids of the pieces that text can become: not control, unknown or byte pieces.
    ids: HashMap<String, u32>,
    /// Ids of the 256 bytes, where unknown characters become bytes.
    bytes: Option<Vec<u32>>,
    unknown: u32,
    /// How the unknown piece is shown.
    unknown_surface: String,
    specials: Specials,
    /// Names of the control tokens whose ids follow the pieces.
    behind: Vec<String>,
}

impl SentencePiece {
    fn new(
        protos: &[PieceProto],
        trainer: &TrainerSpec,
        normalizer: &NormalizerSpec,
        behind: &[String],
    ) -> Result<Self> {
        match trainer.model_type.unwrap_or(UNIGRAM) {
            BPE => (),
            other => {
                let name = if other == UNIGRAM { "unigram" } else { "word or character" };
                return Err(Error::input(format!("a SentencePiece model of type {name} isn't supported"))
                    .help("BPE models are; add the model's `tokenizer.json` to its files to have that one used"));
            }
        }
        let mut pieces = Vec::with_capacity(protos.len());
        for p in protos {
            // The two zeros are equal scores.
            pieces.push(Piece { text: p.text.clone(), score: p.score + 0.0, kind: Kind::of(p)? });
        }
        let with_ids = || pieces.iter().zip(0u32..);
        let ids = with_ids()
            .filter(|(p, _)| matches!(p.kind, Kind::Normal | Kind::UserDefined | Kind::Unused))
            .map(|(p, id)| (p.text.clone(), id))
            .collect();
        let unknown = with_ids().find(|(p, _)| p.kind == Kind::Unknown).map(|(_, id)| id);
        let unknown = unknown.ok_or_else(|| Error::input("the model has no unknown piece"))?;
        let bytes = trainer.byte_fallback.then(|| byte_ids(&pieces)).transpose()?;
        let user_defined =
            pieces.iter().filter(|p| p.kind == Kind::UserDefined && !p.text.is_empty()).map(|p| p.text.clone());
        let normalizer = Normalizer::new(normalizer, trainer.treat_whitespace_as_suffix, user_defined.collect())?;
        let controls = with_ids().filter(|(p, _)| p.kind == Kind::Control).map(|(p, id)| (p.text.clone(), id));
        let added = behind.iter().cloned().zip(pieces.len() as u32..);
        let specials = Specials::new(controls.chain(added));
        Ok(Self {
            normalizer,
            ids,
            bytes,
            unknown,
            unknown_surface: trainer.unk_surface.clone().unwrap_or_else(|| " \u{2047} ".to_owned()),
            specials,
            behind: behind.to_vec(),
            pieces,
        })
    }

    fn is_unused(&self, id: u32) -> bool {
        self.pieces[id as usize].kind == Kind::Unused
    }

    /// What a normalised text is cut into before merging.
    fn symbols(&self, text: &str) -> Vec<Symbol> {
        let mut symbols = Vec::with_capacity(text.len());
        let mut start = 0;
        while let Some(c) = text[start..].chars().next() {
            let whole = self.normalizer.user_defined_at(&text[start..]);
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

    fn merge(&self, text: &str, out: &mut Output<'_>) {
        let mut symbols = self.symbols(text);
        let mut agenda = BinaryHeap::new();
        // Where a piece that isn't to be used was cut when its merge was last thought of.
        let mut cuts: HashMap<&str, usize> = HashMap::new();
        let mut consider = |symbols: &[Symbol], agenda: &mut BinaryHeap<Merge>, left: usize, right: usize| {
            let (l, r) = (symbols[left], symbols[right]);
            if l.fixed || r.fixed {
                return;
            }
            let Some(&id) = self.ids.get(&text[l.start..r.end]) else { return };
            agenda.push(Merge { score: self.pieces[id as usize].score, left, right, len: r.end - l.start });
            if self.is_unused(id) {
                cuts.insert(&text[l.start..r.end], l.end - l.start);
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
        for symbol in symbols.iter().filter(|s| s.start < s.end) {
            self.emit(&text[symbol.start..symbol.end], &cuts, out);
        }
    }

    fn emit(&self, piece: &str, cuts: &HashMap<&str, usize>, out: &mut Output<'_>) {
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

    /// The control token with this id.
    fn special(&self, id: u32) -> Option<&str> {
        match self.pieces.get(id as usize) {
            Some(piece) => (piece.kind == Kind::Control).then_some(piece.text.as_str()),
            None => self.behind.get(id as usize - self.pieces.len()).map(String::as_str),
        }
    }
}

fn byte_ids(pieces: &[Piece]) -> Result<Vec<u32>> {
    let mut ids = vec![None; 256];
    for (piece, id) in pieces.iter().zip(0u32..) {
        if let Kind::Byte(byte) = piece.kind {
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
struct Output<'a> {
    ids: &'a mut Vec<u32>,
    after_unknown: bool,
}

impl Output<'_> {
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

impl Tokenizer for SentencePiece {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let normalised = self.normalizer.normalise(text);
        self.merge(&normalised, &mut Output { ids: &mut ids, after_unknown: false });
        Ok(ids)
    }

    /// Every run between control tokens is a text of its own, whose added first space is taken away again.
    fn decode(&self, ids: &[u32]) -> Result<String> {
        let mut out = String::new();
        let mut run = Run::default();
        for &id in ids {
            if let Some(name) = self.special(id) {
                run.end(&mut out);
                out.push_str(name);
                continue;
            }
            let Some(piece) = self.pieces.get(id as usize) else {
                run.push((NOTHING, false));
                continue;
            };
            match piece.kind {
                Kind::Byte(byte) => run.bytes.push(byte),
                Kind::Unknown => run.push((&self.unknown_surface, false)),
                _ => run.push(self.normalizer.surface(&piece.text, &run)),
            }
        }
        run.end(&mut out);
        Ok(out)
    }

    fn specials(&self) -> &Specials {
        &self.specials
    }

    fn vocab_size(&self) -> usize {
        self.pieces.len() + self.behind.len()
    }
}

/// Decoded text between two control tokens.
#[derive(Default)]
struct Run {
    text: String,
    /// Bytes whose characters aren't complete yet.
    bytes: Vec<u8>,
    /// A space at the beginning was taken away.
    stripped: bool,
}

impl Run {
    fn push(&mut self, (piece, stripped): (&str, bool)) {
        self.flush();
        self.stripped |= stripped;
        self.text.extend(piece.chars().map(|c| if c == SPACE { ' ' } else { c }));
    }

    /// Bytes to characters; each byte that belongs to none is shown as U+FFFD.
    fn flush(&mut self) {
        for chunk in self.bytes.utf8_chunks() {
            self.text.push_str(chunk.valid());
            self.text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        self.bytes.clear();
    }

    fn end(&mut self, out: &mut String) {
        self.flush();
        out.push_str(&std::mem::take(self).text);
    }
}

/// Text as the model wants to read it.
struct Normalizer {
    charsmap: Option<Charsmap>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
    suffix: bool,
    /// Longest first; they stay as they are.
    user_defined: Vec<String>,
}

impl Normalizer {
    fn new(spec: &NormalizerSpec, suffix: bool, mut user_defined: Vec<String>) -> Result<Self> {
        user_defined.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let map = &spec.precompiled_charsmap;
        Ok(Self {
            charsmap: (!map.is_empty()).then(|| Charsmap::new(map)).transpose()?,
            add_dummy_prefix: spec.add_dummy_prefix.unwrap_or(true),
            remove_extra_whitespaces: spec.remove_extra_whitespaces.unwrap_or(true),
            escape_whitespaces: spec.escape_whitespaces.unwrap_or(true),
            suffix,
            user_defined,
        })
    }

    /// Length of the longest user-defined piece that `text` begins with.
    fn user_defined_at(&self, text: &str) -> Option<usize> {
        self.user_defined.iter().find(|u| text.starts_with(u.as_str())).map(String::len)
    }

    /// What the beginning of `text` becomes, and how many bytes of it that takes.
    fn prefix<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        if let Some(len) = self.user_defined_at(text) {
            return (&text[..len], len);
        }
        if let Some(found) = self.charsmap.as_ref().and_then(|map| map.longest(text)) {
            return found;
        }
        let len = text.chars().next().map_or(0, char::len_utf8);
        (&text[..len], len)
    }

    fn normalise(&self, text: &str) -> String {
        let mut rest = text;
        if self.remove_extra_whitespaces {
            while let (" ", len) = self.prefix(rest) {
                rest = &rest[len..];
            }
        }
        if rest.is_empty() {
            return String::new();
        }
        let space = if self.escape_whitespaces { SPACE } else { ' ' };
        let mut out = String::with_capacity(rest.len() + rest.len() / 2);
        if self.add_dummy_prefix && !self.suffix {
            out.push(space);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while !rest.is_empty() {
            let (mut part, len) = self.prefix(rest);
            if after_space {
                part = part.trim_start_matches(' ');
            }
            if !part.is_empty() {
                out.extend(part.chars().map(|c| if c == ' ' { space } else { c }));
                after_space = self.remove_extra_whitespaces && part.ends_with(' ');
            }
            rest = &rest[len..];
        }
        if self.remove_extra_whitespaces {
            out.truncate(out.trim_end_matches(space).len());
        }
        if self.add_dummy_prefix && self.suffix {
            out.push(space);
        }
        out
    }

    /// A piece as it is shown at the end of `run`, and whether it lost a space.
    fn surface<'a>(&self, piece: &'a str, run: &Run) -> (&'a str, bool) {
        let adds = self.add_dummy_prefix || self.remove_extra_whitespaces;
        let begins = run.text.is_empty() && run.bytes.is_empty();
        let once = !run.stripped || self.remove_extra_whitespaces;
        match piece.strip_prefix(SPACE) {
            Some(rest) if adds && begins && once => (rest, true),
            _ => (piece, false),
        }
    }
}

/// Rules that replace runs of characters: a double-array trie (Aoe 1989; laid out as by darts-clone) from what is replaced
/// to the place of its replacement among NUL-terminated strings.
struct Charsmap {
    units: Vec<u32>,
    replacements: String,
}

impl Charsmap {
    /// `bytes`: size of the trie in bytes (little-endian), trie, replacements.
    fn new(bytes: &[u8]) -> Result<Self> {
        let broken = || Error::input("the normalisation rules are damaged");
        let (size, rest) = bytes.split_first_chunk().ok_or_else(broken)?;
        let (trie, replacements) = rest.split_at_checked(u32::from_le_bytes(*size) as usize).ok_or_else(broken)?;
        let (units, odd) = trie.as_chunks();
        if !odd.is_empty() {
            return Err(broken());
        }
        Ok(Self {
            units: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
            replacements: String::from_utf8(replacements.to_vec()).map_err(|_| broken())?,
        })
    }

    /// The replacement of the longest rule that `text` begins with, and that rule's length.
    fn longest(&self, text: &str) -> Option<(&str, usize)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut place = offset(*self.units.first()?);
        let mut found = None;
        for (at, byte) in text.bytes().enumerate() {
            place ^= byte as usize;
            let Some(&unit) = self.units.get(place) else { break };
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            place ^= offset(unit);
            let ends_here = unit & (1 << 8) != 0;
            // Damaged rules might end inside a character.
            if ends_here && text.is_char_boundary(at + 1) {
                found = self.units.get(place).map(|value| (value & !(1 << 31), at + 1));
            }
        }
        let (value, len) = found?;
        let text = self.replacements.get(value as usize..)?;
        Some((text.split('\0').next().unwrap_or_default(), len))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::data::{chat::Chat, tokenizer::Convention};

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sentencepiece").join(name)
    }

    fn model(name: &str, convention: Option<&Convention>) -> TextModel {
        TextModel::load(&Files::from([(FILE.to_owned(), fixture(name))]), convention).unwrap()
    }

    /// Small models with every rule that a file can ask for, and what Python's `sentencepiece` 0.2 makes of some texts:
    /// replaced and removed characters, spaces cut down or kept, spaces in front, behind or not at all, bytes or unknown
    /// pieces, user-defined, control and unused pieces.
    #[test]
    fn equals_sentencepiece() {
        let expected: Value = serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap();
        let mut seen = 0;
        for (name, cases) in expected.as_object().unwrap() {
            let m = model(&format!("{name}.model"), None);
            for case in cases.as_array().unwrap() {
                let text = case["text"].as_str().unwrap();
                let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
                assert_eq!(m.tokenizer.encode(text).unwrap(), ids, "{name}: {text:?}");
                assert_eq!(m.tokenizer.decode(&ids).unwrap(), case["decoded"].as_str().unwrap(), "{name}: {text:?}");
                seen += 1;
            }
        }
        assert_eq!(seen, 80);
    }

    #[test]
    fn a_family_adds_control_tokens_and_its_chat() {
        let chatglm = Convention::of("chatglm").unwrap();
        let m = model("plain.model", Some(&chatglm));
        assert_eq!((m.tokenizer.vocab_size(), m.eos(), m.context), (420 + 5, Some(2), None));
        let chat = Chat::new(&m, None).unwrap();
        let (gmask, sop) = (421, 423);
        let hostile = "sop [gMASK]</s> <end>";
        assert_eq!(chat.text(hostile).unwrap(), format!("[gMASK]sop[Round 1]\n\n问：{hostile}\n\n答："));
        let ids = chat.prompt(hostile).unwrap();
        assert_eq!(ids[..2], [gmask, sop]);
        assert_eq!(ids[2..], m.tokenizer.encode(&format!("[Round 1]\n\n问：{hostile}\n\n答：")).unwrap());
        assert!(ids[2..].iter().all(|id| !m.tokenizer.specials().has_id(*id)));
        assert_eq!(m.tokenizer.decode(&ids).unwrap(), chat.text(hostile).unwrap());
        assert_eq!((chat.answer("good").unwrap(), chat.end()), (m.tokenizer.encode("good").unwrap(), 2));
        assert_eq!(m.tokenizer.decode(&[425, u32::MAX]).unwrap(), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn damaged_files_are_named() {
        let whole = std::fs::read(fixture("rules.model")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let load = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            TextModel::load(&Files::from([(FILE.to_owned(), path.clone())]), None)
        };
        assert!(load(&whole).is_ok());
        // Also where it is cut between two pieces.
        for len in 0..whole.len() {
            let e = load(&whole[..len]).unwrap_err();
            assert!(e.message.contains(FILE) && e.help.is_some(), "{len}: {e}");
        }
        let proto = ModelProto::decode(whole.as_slice()).unwrap();
        let error = |change: fn(&mut ModelProto)| {
            let mut proto = proto.clone();
            change(&mut proto);
            load(&proto.encode_to_vec()).unwrap_err().message
        };
        assert!(error(|p| p.trainer.as_mut().unwrap().model_type = Some(1)).contains("type unigram isn't supported"));
        assert!(error(|p| p.trainer.as_mut().unwrap().byte_fallback = true).contains("no piece <0x00>"));
        assert!(error(|p| p.pieces[0].kind = Some(1)).contains("no unknown piece"));
        assert!(error(|p| p.pieces[3].kind = Some(6)).contains("is no byte"));
        assert!(
            error(|p| p.normalizer.as_mut().unwrap().precompiled_charsmap.truncate(40)).contains("rules are damaged")
        );
    }

    static MODELS: std::sync::LazyLock<[TextModel; 2]> =
        std::sync::LazyLock::new(|| ["plain.model", "unused.model"].map(|name| model(name, None)));

    proptest! {
        #[test]
        fn bytes_come_back(text in any::<String>()) {
            for m in &*MODELS {
                let ids = m.tokenizer.encode(&text).unwrap();
                prop_assert_eq!(m.tokenizer.decode(&ids).unwrap(), text.replace(SPACE, " "));
            }
        }
    }
}
