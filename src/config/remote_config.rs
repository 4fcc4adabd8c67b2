//! Where results are shared between machines, as one file says it.

use std::path::PathBuf;

/// What one file says of the remote store; `None` where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteConfig {
    pub place: Option<RemotePlace>,
    pub pull: Option<bool>,
    pub push: Option<bool>,
    /// Requests at once, at least 1.
    pub concurrency: Option<u32>,
    /// Seconds, at least 1.
    pub timeout: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemotePlace {
    /// A folder, on a shared filesystem as a rule.
    Folder(PathBuf),
    Bucket(Bucket),
}

/// A part of an object storage service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub service: Service,
    pub name: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
    pub endpoint: Option<String>,
    pub region: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    S3,
    Gcs,
    Azure,
}

pub(super) const SERVICES: [(&str, Service); 3] = [("s3", Service::S3), ("gs", Service::Gcs), ("az", Service::Azure)];

impl RemoteConfig {
    /// This, with `other` where this says nothing. A place is taken as a whole, so that one file's bucket never meets
    /// another's endpoint.
    pub fn or(self, other: Self) -> Self {
        Self {
            place: self.place.or(other.place),
            pull: self.pull.or(other.pull),
            push: self.push.or(other.push),
            concurrency: self.concurrency.or(other.concurrency),
            timeout: self.timeout.or(other.timeout),
        }
    }
}

impl std::fmt::Display for RemotePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Bucket(Bucket { service, name, prefix, .. }) => {
                let scheme = SERVICES.iter().find(|(_, s)| s == service).map_or("", |(scheme, _)| scheme);
                write!(f, "{scheme}://{name}")?;
                if prefix.is_empty() { Ok(()) } else { write!(f, "/{prefix}") }
            }
        }
    }
}
