//! Character encodings: bytes to text, and what the bytes are where they are no text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::line_ends::line_at;
use crate::base::error::{Error, Result};

/// Character encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// UTF-8, with or without a byte-order mark.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// UTF-16 with a byte-order mark.
    #[serde(rename = "utf-16")]
    Utf16,
    /// UTF-16, little endian, with or without a byte-order mark.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16, big endian, with or without a byte-order mark.
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// Windows-1252; its five undefined bytes become control characters.
    #[serde(rename = "windows-1252")]
    Windows1252,
    /// ISO 8859-1: every byte is the character of the same number.
    #[serde(rename = "latin-1")]
    Latin1,
}

/// What a file's first bytes say about the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Utf8,
    Utf16Le,
    Utf16Be,
    Utf32,
}

impl Mark {
    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some(Self::Utf32),
            [0xff, 0xfe, ..] => Some(Self::Utf16Le),
            [0xfe, 0xff, ..] => Some(Self::Utf16Be),
            [0xef, 0xbb, 0xbf, ..] => Some(Self::Utf8),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le | Self::Utf16Be => "UTF-16",
            Self::Utf32 => "UTF-32",
        }
    }

    /// As a card says it.
    fn key(self) -> Option<&'static str> {
        match self {
            Self::Utf8 => Some("utf-8"),
            Self::Utf16Le | Self::Utf16Be => Some("utf-16"),
            Self::Utf32 => None,
        }
    }
}

impl Encoding {
    /// The text of a file.
    ///
    /// # Errors
    /// The first byte that isn't of this encoding, with its line; a byte-order mark of another encoding; a NUL; a file that
    /// is no text at all.
    pub fn decode(self, bytes: &[u8]) -> Result<String> {
        if let Some(kind) = packed(bytes) {
            return Err(Error::input(format!("the file is {kind}, not text"))
                .help("name a source that has it unpacked, or one that addresses the file inside"));
        }
        let mark = Mark::of(bytes);
        let fits = match (self, mark) {
            (Self::Utf8, mark) => matches!(mark, None | Some(Mark::Utf8)),
            (Self::Utf16, mark) => matches!(mark, Some(Mark::Utf16Le | Mark::Utf16Be)),
            (Self::Utf16Le, mark) => matches!(mark, None | Some(Mark::Utf16Le)),
            (Self::Utf16Be, mark) => matches!(mark, None | Some(Mark::Utf16Be)),
            (Self::Windows1252 | Self::Latin1, mark) => mark.is_none(),
        };
        if !fits {
            return Err(wrong_mark(mark));
        }
        let text = match self {
            Self::Utf8 => utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))?,
            Self::Utf16 | Self::Utf16Le | Self::Utf16Be => {
                let big = self == Self::Utf16Be || mark == Some(Mark::Utf16Be);
                utf16(if mark.is_some() { &bytes[2..] } else { bytes }, big)?
            }
            Self::Windows1252 => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
            Self::Latin1 => encoding_rs::mem::decode_latin1(bytes).into_owned(),
        };
        match text.find('\0') {
            None => Ok(text),
            Some(at) => {
                Err(Error::input(format!("line {}: a NUL character", line_at(&text, at))).help(nul_help(bytes)))
            }
        }
    }
}

fn wrong_mark(mark: Option<Mark>) -> Error {
    let Some(mark) = mark else {
        return Error::input("the file has no byte-order mark, so the order of UTF-16's bytes isn't known")
            .help("say it in the dataset's card: `encoding = \"utf-16le\"` or \"utf-16be\"");
    };
    let error = Error::input(format!("the file begins with the byte-order mark of {}", mark.name()));
    match mark.key() {
        Some(key) => error.help(format!("say so in the dataset's card: `encoding = \"{key}\"`")),
        None => error.help("convert it to UTF-8"),
    }
}

fn utf8(bytes: &[u8]) -> Result<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|e| {
        let at = e.valid_up_to();
        let line = std::str::from_utf8(&bytes[..at]).map_or(1, |text| line_at(text, at));
        if e.error_len().is_none() {
            return Error::input(format!("line {line}: the file ends in the middle of a character"))
                .help("was it cut short?");
        }
        Error::input(format!("line {line}, byte {at}: 0x{:02x} is not UTF-8", bytes[at]))
            .help("say how the file is encoded in the dataset's card: `encoding = \"windows-1252\"`, \"latin-1\" or \"utf-16\"")
    })
}

fn utf16(bytes: &[u8], big_endian: bool) -> Result<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| if big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) });
    let mut text = String::with_capacity(bytes.len());
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(c) => text.push(c),
            Err(e) => {
                let line = line_at(&text, text.len());
                return Err(Error::input(format!("line {line}: 0x{:04x} is half a character", e.unpaired_surrogate()))
                    .help("the file is no sound UTF-16: was it cut short or edited?"));
            }
        }
    }
    if !rest.is_empty() {
        let line = line_at(&text, text.len());
        return Err(
            Error::input(format!("line {line}: the file ends in the middle of a character")).help("was it cut short?")
        );
    }
    Ok(text)
}

/// Where every second byte is NUL, the file is UTF-16 that doesn't say so.
fn nul_help(bytes: &[u8]) -> String {
    let share = |from: usize| {
        let all = bytes.iter().skip(from).step_by(2);
        all.clone().filter(|b| **b == 0).count() * 4 > all.count()
    };
    match (share(0), share(1)) {
        (false, true) => "it looks like UTF-16: `encoding = \"utf-16le\"` in the dataset's card".to_owned(),
        (true, false) => "it looks like UTF-16: `encoding = \"utf-16be\"` in the dataset's card".to_owned(),
        _ => "text has none: is the file damaged, or of another format?".to_owned(),
    }
}

/// What a file is that tells by its first bytes that it is no text.
fn packed(bytes: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 10] = [
        (b"\x1f\x8b", "compressed with gzip"),
        (b"PK\x03\x04", "a zip archive"),
        (b"PK\x05\x06", "a zip archive"),
        (b"BZh", "compressed with bzip2"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"%PDF-", "a PDF document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
        (b"PAR1", "a Parquet file"),
    ];
    let (start, kind) = KINDS.iter().find(|(start, _)| bytes.starts_with(start))?;
    // Words can begin like these two.
    let sure = match *start {
        b"BZh" => bytes.get(4..10) == Some(b"1AY&SY"),
        b"PAR1" => bytes.ends_with(b"PAR1"),
        _ => true,
    };
    sure.then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16_bytes(text: &str, mark: bool, big: bool) -> Vec<u8> {
        let text = if mark { format!("\u{feff}{text}") } else { text.to_owned() };
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn encodings_give_their_characters() {
        assert_eq!(Encoding::Utf8.decode("\u{feff}né".as_bytes()).unwrap(), "né");
        assert_eq!(Encoding::Windows1252.decode(b"\x93ok\x94 \xe9").unwrap(), "\u{201c}ok\u{201d} é");
        assert_eq!(Encoding::Latin1.decode(b"\x93 \xe9").unwrap(), "\u{93} é");
        let text = "né\n😀";
        for (encoding, mark, big) in [
            (Encoding::Utf16, true, false),
            (Encoding::Utf16, true, true),
            (Encoding::Utf16Le, true, false),
            (Encoding::Utf16Le, false, false),
            (Encoding::Utf16Be, true, true),
            (Encoding::Utf16Be, false, true),
        ] {
            assert_eq!(encoding.decode(&utf16_bytes(text, mark, big)).unwrap(), text, "{encoding:?} {mark} {big}");
        }
    }

    #[test]
    fn what_the_file_is_instead_is_said() {
        let fails = |encoding: Encoding, bytes: &[u8]| {
            let e = encoding.decode(bytes).unwrap_err();
            format!("{} | {}", e.message, e.help.unwrap())
        };
        for encoding in [Encoding::Utf8, Encoding::Windows1252, Encoding::Latin1, Encoding::Utf16Be] {
            let said = fails(encoding, &utf16_bytes("a,b\n", true, false));
            assert!(said.contains("mark of UTF-16") && said.contains("\"utf-16\""), "{said}");
        }
        assert!(fails(Encoding::Utf16, b"a\0b\0").contains("no byte-order mark"));
        assert!(fails(Encoding::Utf8, &utf16_bytes("ab\ncd", false, false)).contains("\"utf-16le\""));
        assert!(fails(Encoding::Latin1, &utf16_bytes("ab\ncd", false, true)).contains("\"utf-16be\""));
        assert!(fails(Encoding::Utf8, b"\xff\xfe\0\0a\0\0\0").contains("UTF-32"));
        assert!(fails(Encoding::Windows1252, "\u{feff}a".as_bytes()).contains("mark of UTF-8"));
        assert!(fails(Encoding::Utf8, b"a,b\nc,\0d\n").starts_with("line 2: a NUL character"));
        assert!(fails(Encoding::Utf8, b"a\rb\rc\xff").starts_with("line 3, byte 5: 0xff is not UTF-8"));
        assert!(fails(Encoding::Utf8, b"a\r\nb\xc3").starts_with("line 2: the file ends in the middle"));
        assert!(fails(Encoding::Utf16Le, b"a\0b").starts_with("line 1: the file ends in the middle"));
        assert!(fails(Encoding::Utf16Le, b"\n\0\0\xd8a\0").starts_with("line 2: 0xd800 is half"));
        assert!(fails(Encoding::Latin1, b"\x1f\x8b\x08\0").contains("gzip"));
        assert!(fails(Encoding::Utf8, b"PK\x03\x04abc").contains("zip archive"));
        assert_eq!(Encoding::Utf8.decode(b"PAR1 is a word").unwrap(), "PAR1 is a word");
    }
}
