//! One file a kind, one line each in the registry.

mod report;

pub use report::ReportKind;
