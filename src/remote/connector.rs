//! HTTP for storage services: requests carry credentials of many names, so they go to the endpoint and nowhere else.

use std::time::Duration;

use object_store::{
    ClientConfigKey, ClientOptions, Error,
    client::{HttpClient, HttpConnector},
};
use reqwest::{Client, Proxy, redirect::Policy};

/// Larger bodies may take long as long as they move: only silence is a failure.
const WHOLE_REQUEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Where there is no metadata service, that is soon clear.
const METADATA: Duration = Duration::from_secs(1);

/// Makes clients that follow no redirect.
#[derive(Debug)]
pub(super) struct Direct {
    /// Until there is a connection.
    pub connect: Duration,
    /// Of one read.
    pub read: Duration,
    /// Whether the endpoint may be a plain http one.
    pub plain: bool,
}

impl HttpConnector for Direct {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let option = |key| options.get_config_value(&key);
        let plain = option(ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        // The service that gives machines their credentials is asked over http whatever the endpoint is.
        let connect = if plain && !self.plain { METADATA } else { self.connect };
        let mut builder = Client::builder()
            .user_agent(concat!("emopipe/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(connect)
            .read_timeout(self.read)
            .timeout(WHOLE_REQUEST)
            .http1_only()
            .https_only(!plain)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate();
        if let Some(url) = option(ClientConfigKey::ProxyUrl) {
            builder = builder.proxy(Proxy::all(url).map_err(failed)?);
        }
        builder.build().map(HttpClient::new).map_err(failed)
    }
}

fn failed(e: reqwest::Error) -> Error {
    Error::Generic { store: "HTTP client", source: Box::new(e) }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use object_store::{ObjectStoreExt, RetryConfig, aws::AmazonS3Builder, path::Path};

    use super::*;

    /// Answers everything with `head`, and counts.
    fn serve(head: String, count: &'static AtomicUsize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
            }
        });
        url
    }

    #[test]
    fn a_session_token_is_not_taken_to_another_host() {
        static HERE: AtomicUsize = AtomicUsize::new(0);
        static THERE: AtomicUsize = AtomicUsize::new(0);
        let there = serve("200 OK\r\nContent-Length: 0".to_owned(), &THERE);
        let here = serve(format!("307 Temporary Redirect\r\nContent-Length: 0\r\nLocation: {there}/x"), &HERE);
        let seconds = Duration::from_secs(5);
        let bucket = AmazonS3Builder::new()
            .with_bucket_name("b")
            .with_region("us-east-1")
            .with_endpoint(here)
            .with_allow_http(true)
            .with_access_key_id("k")
            .with_secret_access_key("s")
            .with_token("session")
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_http_connector(Direct { connect: seconds, read: seconds, plain: true })
            .build()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build().unwrap();
        assert!(runtime.block_on(bucket.get(&Path::from("x"))).is_err());
        assert_eq!((HERE.load(Ordering::Relaxed), THERE.load(Ordering::Relaxed)), (1, 0));
    }
}
