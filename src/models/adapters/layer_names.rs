//! Names of a backbone's linear layers, as people and PEFT write them.

use crate::{base::error::Error, models::Backbone};

/// The modules whose path is `target` or ends in `.target`, as PEFT matches `target_modules`.
pub fn matches_target(path: &str, target: &str) -> bool {
    path.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What the backbone's linear layers are called, each name once.
pub fn layer_names(backbone: &dyn Backbone) -> Vec<String> {
    let mut names: Vec<String> =
        backbone.modules().iter().filter_map(|m| m.path.rsplit('.').next().map(str::to_owned)).collect();
    names.sort();
    names.dedup();
    names
}

/// `target` names no layer.
pub fn unknown_target(target: &str, backbone: &dyn Backbone) -> Error {
    let names = layer_names(backbone);
    let near = names.iter().max_by(|x, y| strsim::jaro(x, target).total_cmp(&strsim::jaro(y, target)));
    let hint = near.map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
    Error::input(format!("no linear layer of the backbone is named `{target}` (in `target_modules`)"))
        .help(format!("{hint}the layers are named: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_match_whole_names_at_the_end() {
        assert!(matches_target("model.layers.0.self_attn.q_proj", "q_proj"));
        assert!(matches_target("model.layers.0.self_attn.q_proj", "self_attn.q_proj"));
        assert!(matches_target("q_proj", "q_proj"));
        assert!(!matches_target("model.layers.0.self_attn.q_proj", "proj"));
    }
}
