//! The reference of pipeline files and of the command line, as pages of Markdown.

pub mod command_pages;
pub mod file_pages;
mod json_shape;
mod key_rows;
mod page;
mod sections;
mod stated_default;
mod type_words;
