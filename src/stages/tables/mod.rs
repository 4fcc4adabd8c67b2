//! The tables that several stage kinds name: models and methods.

mod method;
mod model;

pub use method::{Method, MethodTable};
pub use model::{ModelTable, check as check_model};
