//! Keeps the values of secret variables out of what a command prints.

use std::io::{Read, Write};

const MASK: &[u8] = b"[secret]";
/// Lines of a secret that are shorter, such as the `}` of a JSON key, would tear ordinary output apart.
const SHORTEST_LINE: usize = 6;

/// Values that must not be shown.
#[derive(Default, Clone)]
pub(super) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Each value as a whole, and its lines, which programs may print one by one.
    pub fn new(values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut all = Vec::new();
        for value in values {
            let lines = value.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| l.len() >= SHORTEST_LINE);
            all.extend(lines.map(<[u8]>::to_vec));
            all.push(value.trim_ascii().to_vec());
        }
        all.retain(|v| !v.is_empty());
        // The longest first: one may be a part of another.
        all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        Self(all)
    }

    /// Whether there is nothing to mask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` without the values.
    pub fn mask(&self, text: &str) -> String {
        let mut out = Vec::new();
        self.mask_part(&mut text.as_bytes().to_vec(), true, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Copies all that comes from `from` to `to`, without the values, however they are cut into pieces.
    ///
    /// # Errors
    /// If `from` can't be read. What `to` doesn't take is lost.
    pub fn filter(&self, mut from: impl Read, mut to: impl Write) -> std::io::Result<()> {
        let (mut held, mut part, mut out) = (Vec::new(), [0; 8192], Vec::new());
        loop {
            let n = match from.read(&mut part) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            held.extend_from_slice(&part[..n]);
            self.mask_part(&mut held, n == 0, &mut out);
            // A log that can't be written doesn't stop the command.
            let _ = to.write_all(&out);
            out.clear();
            if n == 0 {
                return Ok(());
            }
        }
    }

    /// Moves from `held` to `out` what can be told apart from a value; at the end, everything.
    fn mask_part(&self, held: &mut Vec<u8>, at_end: bool, out: &mut Vec<u8>) {
        let mut rest = held.as_slice();
        while let [first, after @ ..] = rest {
            let begins = |v: &&Vec<u8>| v.len() > rest.len() && v.starts_with(rest);
            if !at_end && self.0.iter().any(|v| begins(&v)) {
                break;
            }
            if let Some(value) = self.0.iter().find(|v| rest.starts_with(v)) {
                out.extend_from_slice(MASK);
                rest = &rest[value.len()..];
            } else {
                out.push(*first);
                rest = after;
            }
        }
        let done = held.len() - rest.len();
        held.drain(..done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn values_are_masked_however_they_are_cut() {
        let secrets = Secrets::new([b"hunter2".to_vec(), b"hunter22hunter".to_vec(), b"line one\nline two".to_vec()]);
        let text = "a hunter2 b hunter22hunter c hunter22hunte d line two hunte";
        let expected = "a [secret] b [secret] c [secret]2hunte d [secret] hunte";
        assert_eq!(secrets.mask(text), expected);
        for size in 1..text.len() {
            let mut out = Vec::new();
            secrets.filter(Pieces(text.as_bytes(), size), &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{size} bytes at a time");
        }
    }

    #[test]
    fn nothing_is_masked_without_secrets() {
        assert!(Secrets::new([b" ".to_vec()]).is_empty());
        assert_eq!(Secrets::default().mask("as it was"), "as it was");
    }
}
