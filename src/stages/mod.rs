//! One file a kind, one line each in the registry.

pub mod download;
