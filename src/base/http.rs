//! What all of our HTTP clients have in common.

/// How our requests introduce themselves.
pub const USER_AGENT: &str = concat!("emopipe/", env!("CARGO_PKG_VERSION"));

/// The innermost error says what happened; those around it only say where.
pub fn root_cause(e: &dyn std::error::Error) -> String {
    let mut cause = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
