//! stub

pub mod adamw;
