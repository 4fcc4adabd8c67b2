//! Which package index this machine's pip is configured for.

use std::{path::Path, process::Command};

use reqwest::Url;

use crate::base::error::{Error, Result};

/// The index that this machine's pip uses: `PIP_INDEX_URL`, pip's configuration, or pip's own default.
///
/// # Errors
/// Where neither the environment nor pip names an index, or what they name is no web address.
pub(super) fn configured(empty_folder: &Path) -> Result<Url> {
    if let Ok(url) = std::env::var("PIP_INDEX_URL")
        && !url.trim().is_empty()
    {
        return parse_index(&url);
    }
    let get = ["config", "get", "global.index-url"];
    let default = ["-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"];
    let module = ["-m", "pip"];
    let ways: [(&str, Vec<&str>); 6] = [
        ("python3", [&module[..], &get].concat()),
        ("pip3", get.to_vec()),
        ("pip", get.to_vec()),
        ("python3", default.to_vec()),
        ("python", [&module[..], &get].concat()),
        ("python", default.to_vec()),
    ];
    for (program, arguments) in ways {
        // In a folder of ours, since Python would run modules from the current one.
        let output = Command::new(program).args(arguments).current_dir(empty_folder).output();
        if let Ok(output) = output
            && output.status.success()
            && let Some(line) = String::from_utf8_lossy(&output.stdout).lines().map(str::trim).find(|l| !l.is_empty())
        {
            return parse_index(line);
        }
    }
    Err(Error::environment("no Python package index is known: neither PIP_INDEX_URL nor pip names one")
        .help("install pip, or set PIP_INDEX_URL to the address of an index that has the simple API"))
}

/// The address of a package index.
///
/// # Errors
/// A text that is no address with http or https.
pub(super) fn parse_index(text: &str) -> Result<Url> {
    let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| {
        Error::input("the package index that pip is configured for has no web address")
            .help("set PIP_INDEX_URL to the address of an index that has the simple API")
    })
}
