//! Credentials are read from the environment by the storage services' own rules. This module keeps them from going
//! anywhere else.

/// Names of the environment variables that hold something secret of a storage service.
pub fn variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| is_secret(name)).collect()
}

/// `text` without the values of those variables.
pub(super) fn scrub(text: &str) -> String {
    let values = variables().into_iter().filter_map(|name| std::env::var(name).ok());
    without(text, values)
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|service| name.starts_with(service))
        && ["KEY", "SECRET", "TOKEN", "SAS", "PASSWORD", "CREDENTIAL"].iter().any(|word| name.contains(word))
}

/// Shorter values would tear ordinary words apart, and protect nothing.
const SHORTEST: usize = 6;

fn without(text: &str, values: impl Iterator<Item = String>) -> String {
    values.filter(|v| v.len() >= SHORTEST).fold(text.to_owned(), |text, value| text.replace(&value, "[secret]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_variables_are_known_by_their_names() {
        for name in
            ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_SAS_KEY", "google_service_account_key"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["AWS_REGION", "AWS_ENDPOINT_URL", "HOME", "MY_TOKEN"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn values_are_cut_out() {
        let values = ["hunter22".to_owned(), "a".to_owned()];
        assert_eq!(without("a bad hunter22!", values.into_iter()), "a bad [secret]!");
    }
}
