//! emopipe: a declarative, cached, reproducible experiment pipeline for adapting language models to emotion recognition.
//!
//! `ARCHITECTURE.md` is the map: which layer each module is, and which it may use.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod cli;
pub mod config;
pub mod data;
pub mod digest;
pub mod durable;
pub mod engine;
pub mod error;
pub mod eval;
pub mod fault;
pub mod fetch;
pub mod gguf;
pub mod locks;
pub mod models;
pub mod process;
pub mod remote;
pub mod report;
pub mod secrets;
pub mod stages;
pub mod store;
pub mod strict_json;
pub mod surroundings;
pub mod train;
pub mod units;
pub mod visible;
