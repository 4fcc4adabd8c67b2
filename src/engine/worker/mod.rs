//! A worker process: what it is asked, does, and says.

mod action_event;
mod reporter;
mod serve;

pub use action_event::ActionEvent;
pub use reporter::Reporter;
pub use serve::serve;
