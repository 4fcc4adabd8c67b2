//! What every layer stands on: errors and digests, files and locks that survive a crash, the machine, and text for people.

pub mod cgroup;
pub mod digest;
pub mod durable;
pub mod error;
pub mod failpoint;
pub mod gguf_header;
pub mod http;
pub mod locks;
pub mod machine;
pub mod secrets;
pub mod strict_json;
pub mod tracked_fs;
pub mod units;
pub mod visible;
