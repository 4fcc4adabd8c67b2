//! SentencePiece's rules that replace runs of characters, as models carry them compiled.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::base::error::{Error, Result};

/// A double-array trie (Aoe 1989; laid out as by darts-clone) from what is replaced to the place of its replacement among
/// NUL-terminated strings.
pub struct PrecompiledCharsmap {
    units: Vec<u32>,
    replacements: String,
}

/// Where the children of a unit lie, seen from it.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

fn ends_here(unit: u32) -> bool {
    unit & (1 << 8) != 0
}

fn leads(unit: u32, byte: u8) -> bool {
    unit & (1 << 31 | 0xff) == u32::from(byte)
}

fn broken() -> Error {
    Error::input("the normalisation rules are damaged")
        .help("fetch the file again, and compare it with its publisher's hash")
}

impl PrecompiledCharsmap {
    /// `bytes`: size of the trie in bytes (little-endian), trie, replacements.
    ///
    /// # Errors
    /// If a rule leads out of the trie, or to no replacement.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let (size, rest) = bytes.split_first_chunk().ok_or_else(broken)?;
        let (trie, replacements) = rest.split_at_checked(u32::from_le_bytes(*size) as usize).ok_or_else(broken)?;
        let (units, odd) = trie.as_chunks();
        if !odd.is_empty() {
            return Err(broken());
        }
        let this = Self {
            units: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
            replacements: String::from_utf8(replacements.to_vec()).map_err(|_| broken())?,
        };
        this.is_sound().then_some(this).ok_or_else(broken)
    }

    /// The same, as JSON carries the bytes.
    ///
    /// # Errors
    /// Those of [`PrecompiledCharsmap::new`], and if `text` isn't base64.
    pub fn from_base64(text: &str) -> Result<Self> {
        Self::new(&STANDARD.decode(text).map_err(|_| broken())?)
    }

    /// Whether every way through the trie stays in it: other readers of these rules don't look.
    fn is_sound(&self) -> bool {
        let Some(root) = self.units.first() else { return false };
        let mut seen = vec![false; self.units.len()];
        let mut open = vec![offset(*root)];
        while let Some(base) = open.pop() {
            // Any byte of a text may be looked up here.
            if base | 0xff >= self.units.len() {
                return false;
            }
            for byte in 1..=u8::MAX {
                let place = base ^ usize::from(byte);
                let unit = self.units[place];
                if !leads(unit, byte) || std::mem::replace(&mut seen[place], true) {
                    continue;
                }
                let below = place ^ offset(unit);
                if ends_here(unit) && self.units.get(below).is_none_or(|value| self.replacement(*value).is_none()) {
                    return false;
                }
                open.push(below);
            }
        }
        true
    }

    fn replacement(&self, value: u32) -> Option<&str> {
        let text = self.replacements.get((value & !(1 << 31)) as usize..)?;
        text.split('\0').next()
    }

    /// The replacement of the longest rule that `text` begins with, and that rule's length.
    pub fn longest(&self, text: &str) -> Option<(&str, usize)> {
        let mut place = offset(*self.units.first()?);
        let mut found = None;
        for (at, byte) in text.bytes().enumerate() {
            place ^= usize::from(byte);
            let Some(&unit) = self.units.get(place) else { break };
            if !leads(unit, byte) {
                break;
            }
            place ^= offset(unit);
            // Odd rules might end inside a character.
            if ends_here(unit) && text.is_char_boundary(at + 1) {
                found = self.units.get(place).map(|value| (*value, at + 1));
            }
        }
        let (value, len) = found?;
        Some((self.replacement(value)?, len))
    }
}
