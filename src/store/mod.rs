//! Content-addressed blobs, action results, locks and garbage collection. Knows bytes, not what actions mean.

mod digest;

pub use digest::Digest;
