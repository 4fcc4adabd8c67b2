//! Training of adapters: batches, schedule, optimiser, checkpoints.

mod checkpoint;
mod data_order;
mod learning_rate;
pub mod optimizer;
mod trainer;
mod training_spec;

pub use checkpoint::{Checkpoint, CheckpointFile, checkpoint_path};
pub use data_order::DataOrder;
pub use learning_rate::Schedule;
pub use trainer::{DevPoint, Training, TrainingSummary};
pub use training_spec::{RuntimeOptions, TrainingLength, TrainingSpec};
