//! What a run that found every result saw, so that the next one can tell at a glance that it would find them, too.
//!
//! Whether a run has anything to do follows from: the command line, the program, the machine, the files that planning read,
//! the index, the sizes of the blobs, and the files that were exported. A memo has all of these, by content wherever the run
//! itself goes by content. If each is what it was, the outcome is what it was; if one isn't, the memo says nothing and the run
//! takes the long way. Nothing is believed that the long way would check: rotten index lines change the index's digest, and
//! blobs are looked at as a lookup looks at them.
//!
//! A memo is a checksum, one line of JSON, and the digest and size of each blob as 40 bytes.

mod memo_bytes;
mod program_identity;
mod question;
mod recall;
mod replay;
mod witness;

pub use question::Question;
pub use recall::{recall, remember};
pub use witness::Memo;
