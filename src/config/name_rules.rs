//! What can be the name of a stage, a definition or an axis value.

pub(super) const NAME_HELP: &str =
    "names are made of letters, digits and `-_.+:@`, and don't begin with a dot: they stand in action names and paths";

/// Whether a name can stand in `stage[axis=value]` and in a path.
pub(super) fn valid_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.chars().all(|c| c.is_alphanumeric() || "-_.+:@".contains(c))
}
