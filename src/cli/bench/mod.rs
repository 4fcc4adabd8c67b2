//! `bench`: what training and evaluation cost, as JSON lines.

mod bench_args;
mod bench_command;
mod bench_model;
mod clock;
mod evaluation_rate;
mod figures;
mod products;
mod subject;
mod suite;
mod suite_args;
mod training_rate;
mod workload;

pub use bench_command::BenchArgs;
