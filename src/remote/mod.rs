//! Results shared between machines: a folder on a shared filesystem, or a bucket. Knows bytes, not what actions mean.
//!
//! ```text
//! REMOTE/v1/
//!   blobs/ab/cdef...      files and preimages, named by their BLAKE3
//!   results/ab/cdef...    one checksummed line per action key: its files, and the blob of its preimage
//! ```
//!
//! A result's line is written after everything it names, with a condition that it isn't there yet where the service knows
//! conditions. So a writer that dies leaves at most blobs that nothing names (in a folder, also temporary files; in a
//! bucket, parts of uploads that were never completed). No locks are needed: two writers of a blob write the same bytes.
//!
//! Whatever is read is compared with its BLAKE3 before it enters the local store. What doesn't match counts as absent, is
//! reported, and is replaced when this process next sends the same result.
//!
//! Nothing is connected, and no thread started, before the first request.

mod answers;
mod backend;
mod connector;
pub mod credentials;
mod link;
mod record;
mod remote_error;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod transfer;

pub use answers::{Pulled, Pushed};
pub use link::Remote;
pub use record::listing;
pub use settings::Settings;
