//! Datasets and tasks: cards, readers, label schemes, splits, and the tables that they become.

pub mod frame;
