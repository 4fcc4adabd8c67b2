//! Training of adapters: batches, schedule, optimiser, checkpoints.

mod checkpoint;
mod data_order;
mod learning_rate;
mod method;
pub mod optimizer;
mod trainer;

pub use checkpoint::{Checkpoint, CheckpointFile, checkpoint_path};
pub use data_order::DataOrder;
pub use learning_rate::Schedule;
pub use method::{Method, RuntimeOptions, TrainingLength, TrainingSpec, adapter_name};
pub use trainer::{DevPoint, Training, TrainingSummary};
