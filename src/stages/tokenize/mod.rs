//! `tokenize`: prompts and answers of a task as token ids of a model.

#[cfg(test)]
mod tests;
mod tokenize_resolve;
mod tokenize_run;
mod tokenize_stage;
mod tokenize_table;

pub use tokenize_stage::Tokenize;
