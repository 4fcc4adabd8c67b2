//! From a specification to a DAG of actions, and from a DAG and a store to a forecast.

mod action;
mod dag;
mod description;
mod export_claims;
mod forecast;
mod links;
mod needs;
mod resolution;
mod selection;
mod topology;

pub use action::{Action, Finished, Notes};
pub use dag::Plan;
pub use forecast::Forecast;
pub use selection::Selection;
