//! Training of adapters: batches, schedule, optimiser, checkpoints.

mod checkpoint;
mod checkpoint_cadence;
mod data_order;
mod dev_accuracy;
mod learning_rate;
pub mod optimizer;
mod trainer;
mod trainer_state;
mod training;
mod training_spec;
mod training_step;
mod training_summary;

pub use checkpoint::{Checkpoint, CheckpointFile, checkpoint_path};
pub use data_order::DataOrder;
pub use learning_rate::Schedule;
pub use training::Training;
pub use training_spec::{RuntimeOptions, TrainingLength, TrainingSpec};
pub use training_summary::{DevPoint, TrainingSummary};
