//! What the command line says of how a pipeline file is read.

/// Options of the command line that shape the specification.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    pub profile: Option<String>,
    /// `--set a.b.c=value`; the value is read as TOML where it parses as such, else as a string.
    pub set: Vec<(String, String)>,
}
