//! emopipe: a declarative, cached, reproducible experiment pipeline for adapting language models to emotion recognition.
//!
//! `ARCHITECTURE.md` is the map: which layer each module is, and which it may use.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod base;
pub mod cli;
pub mod config;
pub mod data;
pub mod engine;
pub mod estimate;
pub mod eval;
pub mod fetch;
pub mod models;
pub mod packing;
pub mod process;
pub mod remote;
pub mod report;
pub mod stages;
pub mod store;
pub mod train;
