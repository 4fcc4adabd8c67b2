//! Training of adapters: batches, schedule, optimiser, checkpoints.

pub mod adamw;
mod batch;
mod checkpoint;
mod method;
mod run;
mod schedule;
mod tokens;

pub use batch::{Answers, DataOrder, PackedBatch, Sample, most_in_row, shared_beginning};
pub use checkpoint::{Checkpoint, CheckpointFile, checkpoint_path};
pub use method::{Length, Method, Safeguards, TrainingSpec, adapter_name};
pub use run::{DevPoint, Training, TrainingSummary, peak_memory};
pub use schedule::Schedule;
pub use tokens::TokenSet;
