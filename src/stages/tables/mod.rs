//! The tables that several stage kinds name: models and methods.

mod model;

pub use model::{ModelTable, check as check_model};
