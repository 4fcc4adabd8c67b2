//! From a [`RemotePlace`] to an object store with its credentials, and from its errors to ours.

use std::{sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    local::LocalFileSystem,
    path::Path,
};
use reqwest::Url;

use super::{connector::Direct, credentials::scrub, settings::Settings};
use crate::{
    base::{
        digest::Digest,
        error::{Error, Result},
    },
    config::{Bucket, RemotePlace, Service},
};

/// A failed request is tried again this often, at growing intervals.
const RETRIES: usize = 4;
const BACKOFF: BackoffConfig =
    BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(10), base: 3.0 };
/// A server that can't be reached at all is noticed sooner than one that is slow.
const CONNECT: Duration = Duration::from_secs(10);

/// Names of objects carry the layout's version, so that a later layout can live beside this one.
const LAYOUT: &str = "v1";

pub(super) struct Backend {
    pub objects: Arc<dyn ObjectStore>,
    prefix: String,
    pub is_folder: bool,
    /// For messages.
    pub name: String,
}

impl Backend {
    /// Makes no request yet.
    ///
    /// # Errors
    /// Where the folder isn't there, or the service's environment variables make no sense.
    pub fn new(settings: &Settings) -> Result<Self> {
        let name = settings.place.to_string();
        let (objects, prefix, is_folder) = match &settings.place {
            RemotePlace::Folder(folder) => {
                // A folder that is made up on the spot would hide that the shared filesystem isn't mounted.
                let objects = LocalFileSystem::new_with_prefix(folder).map_err(|_| {
                    Error::environment(format!("the remote folder {name} isn't there"))
                        .help("mount the filesystem that it lies on; a new remote is an empty folder that you make")
                })?;
                (Arc::new(objects.with_fsync(true)) as Arc<dyn ObjectStore>, String::new(), true)
            }
            RemotePlace::Bucket(bucket) => {
                let objects = connect(bucket, settings.timeout).map_err(|e| e.at(&name))?;
                (objects, bucket.prefix.clone(), false)
            }
        };
        Ok(Self { objects, prefix, is_folder, name })
    }

    pub fn blob(&self, digest: &Digest) -> Path {
        self.object("blobs", digest)
    }

    pub fn result(&self, key: &Digest) -> Path {
        self.object("results", key)
    }

    /// `PREFIX/v1/blobs/ab/cdef...`
    fn object(&self, kind: &str, digest: &Digest) -> Path {
        let hex = digest.to_string();
        Path::from(format!("{}/{LAYOUT}/{kind}/{}/{}", self.prefix, &hex[..2], &hex[2..]))
    }

    /// What to tell of an error that isn't simply the absence of an object.
    pub fn error(&self, e: &object_store::Error) -> Error {
        use object_store::Error as E;
        let cause = scrub(&one_line(&root_cause(e)));
        let error = Error::environment(format!("{}: {cause}", self.name));
        match e {
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => error.help(
                "check the credentials in the environment; they must allow to list the bucket (else what is missing \
                 looks forbidden), to read, and to write where you push",
            ),
            _ if self.is_folder => error.help("check that the shared filesystem is mounted, writable and not full"),
            _ => error.help("check the network, the endpoint and the credentials in the environment"),
        }
    }
}

fn connect(bucket: &Bucket, timeout: Duration) -> Result<Arc<dyn ObjectStore>> {
    let name = &bucket.name;
    let retry = RetryConfig { backoff: BACKOFF, max_retries: RETRIES, retry_timeout: timeout * (RETRIES as u32 + 1) };
    // Large bodies may take long as long as they move: only silence is a failure.
    let plain = bucket.endpoint.as_deref().map_or(Ok(false), plain_allowed)?;
    let direct = || Direct { connect: timeout.min(CONNECT), read: timeout, plain };
    let mut client = vec![
        (ClientConfigKey::Timeout, "7 days".to_owned()),
        (ClientConfigKey::ReadTimeout, format!("{} s", timeout.as_secs())),
        (ClientConfigKey::ConnectTimeout, format!("{} s", timeout.min(CONNECT).as_secs())),
    ];
    if plain {
        client.push((ClientConfigKey::AllowHttp, "true".to_owned()));
    }
    let built: Result<Arc<dyn ObjectStore>, object_store::Error> = match bucket.service {
        Service::S3 => {
            let mut builder =
                AmazonS3Builder::from_env().with_bucket_name(name).with_retry(retry).with_http_connector(direct());
            for (key, value) in client {
                builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
            }
            if let Some(region) = &bucket.region {
                builder = builder.with_region(region);
            }
            if let Some(endpoint) = &bucket.endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            builder.build().map(|s| Arc::new(s) as _)
        }
        Service::Gcs => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(name)
                .with_retry(retry)
                .with_http_connector(direct());
            for (key, value) in client {
                builder = builder.with_config(GoogleConfigKey::Client(key), value);
            }
            if let Some(endpoint) = &bucket.endpoint {
                builder = builder.with_base_url(endpoint);
            }
            builder.build().map(|s| Arc::new(s) as _)
        }
        Service::Azure => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(name)
                .with_retry(retry)
                .with_http_connector(direct());
            for (key, value) in client {
                builder = builder.with_config(AzureConfigKey::Client(key), value);
            }
            if let Some(endpoint) = &bucket.endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            builder.build().map(|s| Arc::new(s) as _)
        }
    };
    built.map_err(|e| {
        Error::environment(scrub(&one_line(&root_cause(&e)))).help("check the service's environment variables")
    })
}

/// Lets `http:` endpoints beyond this machine pass.
const ALLOW_PLAIN: &str = "EMOPIPE_ALLOW_HTTP";

/// Blobs prove themselves by their hash, but over plain http anyone on the way could replace a record or read along.
fn plain_allowed(endpoint: &str) -> Result<bool> {
    let Some(url) = Url::parse(endpoint).ok().filter(|url| url.scheme() == "http") else { return Ok(false) };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if local || std::env::var_os(ALLOW_PLAIN).is_some_and(|value| value == "1") {
        return Ok(true);
    }
    Err(Error::input(format!("{endpoint} is unprotected: anyone on the way could read and change what is sent"))
        .help(format!("use https://, or set {ALLOW_PLAIN}=1 in a network that you trust")))
}

/// The innermost error says what happened; those around it only say where.
fn root_cause(e: &dyn std::error::Error) -> String {
    let mut cause = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Servers answer with pages of XML; a line of it is enough.
fn one_line(text: &str) -> String {
    const MOST: usize = 300;
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        let allowed = |endpoint: &str| plain_allowed(endpoint).ok();
        assert_eq!(allowed("http://127.0.0.1:9000"), Some(true));
        assert_eq!(allowed("http://[::1]:9000"), Some(true));
        assert_eq!(allowed("https://s3.example.org"), Some(false));
        assert_eq!(allowed("http://s3.example.org"), None);
        assert_eq!(allowed("http://localhost.example.org"), None);
    }

    #[test]
    fn objects_have_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::for_folder(dir.path());
        let backend = Backend::new(&settings).unwrap();
        let digest = Digest::of(b"x");
        let hex = digest.to_string();
        assert_eq!(backend.blob(&digest).as_ref(), format!("v1/blobs/{}/{}", &hex[..2], &hex[2..]));
        let with_prefix = Backend { prefix: "team/emo".into(), ..backend };
        assert!(with_prefix.result(&digest).as_ref().starts_with("team/emo/v1/results/"));
        let missing = Settings::for_folder(&dir.path().join("none"));
        assert!(Backend::new(&missing).err().unwrap().message.contains("isn't there"));
    }

    #[test]
    fn long_answers_become_one_short_line() {
        assert_eq!(one_line("<Error>\n  <Code>X</Code>\n"), "<Error> <Code>X</Code>");
        assert_eq!(one_line(&"é".repeat(400)).chars().count(), 304);
    }
}
