//! A user message and an answer as the model's own chat template writes them.
//!
//! Templates are Jinja, in the dialect that the Hugging Face hub's tokenizers use. Control tokens that the template writes
//! become control ids; the same characters in a user message stay plain text.

mod chat_template;
mod conversation;
mod generation_tag;
mod python;
mod rendering;

pub use conversation::Chat;

#[cfg(test)]
mod tests;
