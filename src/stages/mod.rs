//! One file a kind, one line each in the registry.

mod prepare;
mod report;

pub use prepare::Prepare;
pub use report::ReportKind;
