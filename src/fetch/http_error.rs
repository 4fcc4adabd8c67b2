//! Errors of the way to a server: requests without an answer, and answers that broke off.

use reqwest::Url;

use super::{address::INSIDE, retry::Failure, url_text::shown};
use crate::base::{error::Error, http::root_cause};

/// A request that got no answer.
pub(super) fn unanswered(url: &Url, e: &reqwest::Error) -> Failure {
    let host = url.host_str().unwrap_or("the host");
    let cause = root_cause(e);
    if e.is_redirect() || e.is_builder() {
        return Failure::Final(Error::input(format!("can't follow {}: {cause}", shown(url))));
    }
    if cause.ends_with(INSIDE) {
        return Failure::Final(Error::input(format!("{} redirects, and that isn't followed: {cause}", shown(url))));
    }
    let error = Error::environment(format!("can't reach {host}: {cause}"));
    if cause.to_lowercase().contains("certificate") {
        return Failure::Final(error.help(
            "this network may re-sign its traffic: add its certificate to the system's store, or name it with SSL_CERT_FILE",
        ));
    }
    Failure::again(error)
}

/// An answer that broke off.
pub(super) fn cut(url: &Url, e: &std::io::Error) -> Error {
    Error::environment(format!("the connection to {} broke: {}", url.host_str().unwrap_or("the host"), root_cause(e)))
}
