//! One file a kind, one line each in the registry.

mod prepare;

pub use prepare::Prepare;
