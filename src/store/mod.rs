//! Content-addressed blobs, action results, locks and garbage collection. Knows bytes, not what actions mean.
//!
//! ```text
//! cache/
//!   emopipe.store        marks the folder as a store; nothing is removed from one that has no mark
//!   blobs/ab/cdef...     read-only files, named by their BLAKE3
//!   index.jsonl          one checksummed line per action result, append-only; the only thing that makes a result visible
//!   actions/ab/cdef....json   preimage of each key, for `explain`
//!   locks/KEY            held (flock) by the process that computes KEY; the kernel releases it when the process dies
//!   work/KEY/            what an interrupted action keeps: partial downloads, checkpoints
//!   tmp/                 staging; anything here may vanish
//!   unsent/KEY           results that a remote store hasn't got yet
//!   memos/               what runs saw that found everything; may vanish
//!   runs/RUN/            journal and worker logs of each run
//!   exports/             which folders of the project each pipeline last exported to
//! ```
//!
//! On a filesystem without locks nothing is damaged either: what several processes compute twice has the same name and
//! is renamed into place, and an index line that another one tore or overwrote fails its checksum, which is a miss.
//!
//! Order of publication: blobs (written elsewhere on the same filesystem) and the preimage are synced, renamed, and their
//! folders synced; then the index line is written and synced. A crash or a power failure in between leaves unreferenced
//! files, never a result that lies. A result whose blob is missing or has another size is a miss.
//!
//! In the project, exports are copies. A manifest beside them says which files are emopipe's and may be replaced.

mod action_result;
mod blobs;
mod export;
mod file_entry;
mod folders;
mod garbage;
mod index_line;
mod integrity;
mod lease;
pub mod manifest;
mod marker;
pub mod names;
mod open_store;
mod pending_push;
mod publish;
mod result_index;
mod stored_files;
#[cfg(test)]
mod tests;
mod work_folders;

pub use action_result::{Acceptance, ActionResult, Known};
pub use export::{Exports, Removed};
pub use file_entry::FileEntry;
pub use garbage::{Collected, Garbage, Retention, Swept};
pub use integrity::{Audit, Damage, Repaired};
pub use lease::Lease;
pub use open_store::Store;
