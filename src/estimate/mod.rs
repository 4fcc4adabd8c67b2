//! What an action will hold and how long it will take, from shapes and lengths alone, and what would make it fit.

mod evaluation_estimate;
pub mod feasibility;
mod lengths;
mod model_shape;
mod peak_memory;
mod prompts;
mod rates;
mod remedies;
mod row;
mod training_estimate;

pub use evaluation_estimate::EvaluationEstimate;
pub use lengths::Lengths;
pub use model_shape::ModelShape;
pub use prompts::Prompts;
pub use rates::Transfer;
pub use row::{Answering, Parts, Row};
pub use training_estimate::TrainingEstimate;
