//! Following redirects, each with a request of its own, so that nothing that was meant for one host reaches another.

use std::sync::Arc;

use reqwest::{
    Url,
    blocking::{Client, ClientBuilder, Response},
    header::{HeaderMap, LOCATION},
};

use super::{
    address::{Guard, INSIDE, answered_publicly, is_inside, is_public, literal},
    http_error::unanswered,
    retry::Failure,
    url_text::shown,
};
use crate::base::{
    error::{Error, Result},
    http::{USER_AGENT, root_cause},
};

const MAX_REDIRECTS: usize = 10;

/// Sends requests and follows where they lead.
#[derive(Clone)]
pub(super) struct Follower {
    /// For addresses that the user named.
    open: Client,
    /// For those that a server outside named.
    guarded: Client,
    guard: Arc<Guard>,
    /// For tests, whose servers are all inside.
    #[cfg(test)]
    pretend_public: bool,
}

impl Follower {
    /// Clients with the settings that `settings` gives, which is asked once for each of them.
    ///
    /// # Errors
    /// Where the HTTP client can't be set up, for example for want of certificates.
    pub fn new(settings: impl Fn() -> ClientBuilder) -> Result<Self> {
        let guard = Arc::new(Guard::default());
        let build = |builder: ClientBuilder| {
            // A Referer would tell the next host the whole address, with the tokens in it.
            let builder = builder.redirect(reqwest::redirect::Policy::none()).referer(false);
            builder.build().map_err(|e| Error::environment(format!("can't set up HTTP: {}", root_cause(&e))))
        };
        Ok(Self {
            open: build(settings())?,
            guarded: build(settings().dns_resolver(Arc::clone(&guard)))?,
            guard,
            #[cfg(test)]
            pretend_public: false,
        })
    }

    #[cfg(test)]
    pub fn pretending(self, pretend_public: bool) -> Self {
        Self { pretend_public, ..self }
    }

    /// The response that `url` leads to. Of the request, `headers` go to every host, and user and password to the first alone.
    ///
    /// # Errors
    /// Where nobody answers, a redirect leads where none may, or there are too many of them.
    pub fn get(&self, url: &Url, headers: &HeaderMap) -> Result<Response, Failure> {
        let mut at = url.clone();
        let mut outside = false;
        for _ in 0..=MAX_REDIRECTS {
            let client = if outside { &self.guarded } else { &self.open };
            let response = client.get(at.clone()).headers(headers.clone()).send().map_err(|e| unanswered(&at, &e))?;
            let Some(location) = target(&response) else { return Ok(response) };
            outside |= self.is_outside(&at, &response);
            at = next(&at, location, outside).map_err(|why| {
                let message = format!("{} redirects, and that isn't followed: {why}", shown(url));
                Failure::Final(Error::input(message).help("name the address that it should come from in `url`"))
            })?;
            if outside && let Some(host) = at.host_str() {
                self.guard.add(host);
            }
        }
        Err(Failure::Final(Error::input(format!("{} redirects more than {MAX_REDIRECTS} times", shown(url)))))
    }

    fn is_outside(&self, at: &Url, response: &Response) -> bool {
        #[cfg(test)]
        if self.pretend_public {
            return true;
        }
        answered_publicly(at, response.remote_addr())
    }
}

/// A client for libraries that follow redirects by reqwest's own means, under the same rules. It drops what authorises a
/// request when the host changes.
///
/// # Errors
/// Where the client can't be set up.
pub(super) fn guarded_client() -> reqwest::Result<reqwest::Client> {
    let guard = Arc::new(Guard::default());
    let guards = Arc::clone(&guard);
    let policy = reqwest::redirect::Policy::custom(move |attempt| {
        let Some(at) = attempt.previous().last().cloned() else { return attempt.stop() };
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error("too many redirects");
        }
        let to = attempt.url();
        let outside = at.host_str() != to.host_str() && !is_inside(&at);
        if let Err(why) = next(&at, to.as_str(), outside) {
            return attempt.error(why);
        }
        if outside && let Some(host) = to.host_str() {
            guards.add(host);
        }
        attempt.follow()
    });
    reqwest::Client::builder().user_agent(USER_AGENT).referer(false).redirect(policy).dns_resolver(guard).build()
}

fn target(response: &Response) -> Option<&str> {
    let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    response.headers().get(LOCATION).filter(|_| moved).map(|location| location.to_str().unwrap_or_default())
}

/// Where a redirect from `at` leads. `outside`: a server of the public internet said so.
fn next(at: &Url, location: &str, outside: bool) -> Result<Url, String> {
    let mut to = at.join(location).map_err(|_| "it leads to no web address".to_owned())?;
    match (at.scheme(), to.scheme()) {
        ("https", "http") => return Err("it leads from https to unprotected http".to_owned()),
        (_, "https" | "http") => {}
        (_, other) => return Err(format!("it leads to an address of the kind `{other}`")),
    }
    if outside && literal(&to).is_some_and(|ip| !is_public(ip)) {
        return Err(format!("{} {INSIDE}", to.host_str().unwrap_or_default()));
    }
    let upgraded = at.scheme() == "http" && to.scheme() == "https" && at.port().is_none() && to.port().is_none();
    let same = at.host_str() == to.host_str()
        && (upgraded || (at.scheme() == to.scheme() && at.port_or_known_default() == to.port_or_known_default()));
    let (user, password) = if same { (at.username(), at.password()) } else { ("", None) };
    to.set_username(user).and_then(|()| to.set_password(password)).map_err(|()| "it leads to no host".to_owned())?;
    to.set_fragment(None);
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_goes_nowhere_that_it_shouldnt_and_takes_nothing_along() {
        let go = |at: &str, to: &str, outside| next(&at.parse().unwrap(), to, outside).map(String::from);
        let ok = |to: &str| Ok(to.to_owned());
        assert_eq!(go("http://u:p@h/a", "/b?c", true), ok("http://u:p@h/b?c"));
        assert_eq!(go("http://u:p@h/a", "https://h/b", true), ok("https://u:p@h/b"));
        for elsewhere in ["http://h:81/b", "http://g/b", "http://x:y@g/b", "https://h:444/b"] {
            let end = go("http://u:p@h/a", elsewhere, true).unwrap();
            assert!(!end.contains('@'), "{end}");
        }
        assert!(go("https://h/a", "http://h/b", false).unwrap_err().contains("unprotected"));
        assert!(go("https://h/a", "file:///etc/passwd", false).unwrap_err().contains("`file`"));
        for inside in ["http://127.0.0.1/", "http://[::ffff:10.0.0.1]/", "//169.254.169.254/latest", "http://0x7f.1/"] {
            assert!(go("http://h/a", inside, true).unwrap_err().contains("of this machine"), "{inside}");
            assert!(go("http://h/a", inside, false).is_ok(), "{inside}");
        }
    }
}
