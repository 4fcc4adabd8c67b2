//! Gzip, to the very end: several members are one file, zeros after them are padding, and anything else is damage.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Unpacks what `R` has.
pub(super) struct Gunzip<R>(State<R>);

enum State<R> {
    Member(Box<GzDecoder<R>>),
    Ended,
}

impl<R: BufRead> Gunzip<R> {
    pub fn new(packed: R) -> Self {
        Self(State::Member(Box::new(GzDecoder::new(packed))))
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let State::Member(member) = &mut self.0 else { return Ok(0) };
            let n = member.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            let State::Member(member) = std::mem::replace(&mut self.0, State::Ended) else { return Ok(0) };
            let mut rest = member.into_inner();
            match rest.fill_buf()?.first() {
                None => return Ok(0),
                Some(0) => return padding(rest).map(|()| 0),
                Some(_) => *self = Self::new(rest),
            }
        }
    }
}

fn padding(mut rest: impl BufRead) -> io::Result<()> {
    loop {
        let block = rest.fill_buf()?;
        if block.iter().any(|byte| *byte != 0) {
            return Err(io::Error::other("something follows its end"));
        }
        let n = block.len();
        if n == 0 {
            return Ok(());
        }
        rest.consume(n);
    }
}
