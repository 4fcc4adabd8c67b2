//! Processes: this program as a child of itself, commands with all that they start, and the memory that they hold.
//!
//! A command runs below a **supervisor**, a small process of this program. Whatever the command starts, also what detaches
//! itself, stays a descendant of the supervisor, which ends all of it when the command ends, when it is told to, and when
//! whoever ordered the command is gone, however that came.

mod descendants;
mod memory_meter;
mod oom;
mod program;
mod supervised;
mod supervision;
mod supervisor;
pub mod threads;

pub use oom::OomKills;
pub use program::{take_name, this_program};
pub use supervised::Supervised;
pub use supervision::{Ended, Task};
pub use supervisor::serve;
