//! Processes: this program as a child of itself, commands with all that they start, and the memory that they hold.
//!
//! A command runs below a **supervisor**, a small process of this program. Whatever the command starts, also what detaches
//! itself, stays a descendant of the supervisor, which ends all of it when the command ends, when it is told to, and when
//! whoever ordered the command is gone, however that came.

mod cgroup;
mod family;
mod meter;
mod oom;
mod program;
mod supervised;
mod supervisor;
pub mod threads;

pub use cgroup::memory_limit;
pub use oom::OomKills;
pub use program::{take_name, this_program};
pub use supervised::{Supervised, Task};
pub use supervisor::{Ended, serve};
