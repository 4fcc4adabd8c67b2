//! A real S3 server on the loopback (`moto_server` of PyPI's `moto[server]`), and a proxy in front of it that misbehaves.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// A running `moto_server`, stopped when dropped.
pub struct Server {
    child: Mutex<Child>,
    pub address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The server that all tests of this process share; `None` where there is no `moto_server` that runs.
pub fn server() -> Option<Arc<Server>> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return Some(server);
    }
    let asked_for = std::env::var_os("EMOPIPE_MOTO").filter(|program| !program.is_empty());
    let program = asked_for.clone().unwrap_or_else(|| "moto_server".into());
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let started = Command::new(&program)
        .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(e) if asked_for.is_some() => panic!("{}: {e}", program.display()),
        Err(_) => return None,
    };
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        // A launcher on PATH without the package behind it ends at once.
        if let Some(status) = child.try_wait().unwrap() {
            assert!(asked_for.is_none(), "{}: {status}", program.display());
            return None;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "moto_server doesn't listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    let server = Arc::new(Server { child: Mutex::new(child), address });
    *shared = Arc::downgrade(&server);
    Some(server)
}

impl Server {
    /// Makes a bucket of its own for a test.
    pub fn bucket(&self, name: &str) {
        self.ask("PUT", &format!("/{name}"));
    }

    /// Keys and contents of a bucket's objects.
    pub fn objects(&self, bucket: &str) -> Vec<(String, Vec<u8>)> {
        let listing = body(&self.ask("GET", &format!("/{bucket}?list-type=2"))).to_vec();
        let listing = String::from_utf8(listing).unwrap();
        assert!(listing.contains("<IsTruncated>false"), "more objects than one page holds");
        let keys = listing.split("<Key>").skip(1).map(|part| part.split('<').next().unwrap().to_owned());
        keys.map(|key| (key.clone(), body(&self.ask("GET", &format!("/{bucket}/{key}"))).to_vec())).collect()
    }

    fn ask(&self, method: &str, path: &str) -> Vec<u8> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: s3\r\nContent-Length: 0\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request\r\n\r\n"
        );
        let answer = forward(self.address, request.as_bytes()).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{method} {path}: {}", String::from_utf8_lossy(&answer));
        answer
    }
}

pub struct Request {
    pub method: String,
    pub path: String,
    bytes: Vec<u8>,
}

impl Request {
    pub fn body(&self) -> &[u8] {
        body(&self.bytes)
    }

    /// Whether the head has this line; in lower case.
    pub fn has(&self, line: &str) -> bool {
        let head = &self.bytes[..self.bytes.len() - self.body().len()];
        String::from_utf8_lossy(head).to_ascii_lowercase().lines().any(|l| l == line)
    }
}

/// What the proxy does to a request or its answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// Answers this status without asking the server.
    Status(&'static str),
    /// Takes the request and says nothing for so long.
    Hang(Duration),
    /// Ends the connection without an answer.
    Close,
    /// Sends only half of the body that it announced.
    Cut,
    /// Changes a byte of the body.
    WrongByte,
    /// Passes the request on after a while.
    Slow(Duration),
}

pub struct Proxy {
    pub url: String,
    requests: Arc<AtomicUsize>,
    faults: Arc<AtomicUsize>,
}

impl Proxy {
    /// `fault` says what becomes of the n-th request.
    pub fn new(server: &Server, fault: impl Fn(&Request, usize) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, faults) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (seen, done, fault, upstream) = (requests.clone(), faults.clone(), Arc::new(fault), server.address);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let (seen, done, fault) = (seen.clone(), done.clone(), fault.clone());
                std::thread::spawn(move || {
                    let Some(request) = read_request(&mut stream) else { return };
                    let n = seen.fetch_add(1, Ordering::SeqCst);
                    let fault = fault(&request, n);
                    done.fetch_add(usize::from(fault != Fault::None), Ordering::SeqCst);
                    if let Some(answer) = answer(upstream, &request, fault) {
                        let _ = stream.write_all(&answer);
                    }
                });
            }
        });
        Self { url, requests, faults }
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub fn faults(&self) -> usize {
        self.faults.load(Ordering::SeqCst)
    }
}

fn answer(upstream: SocketAddr, request: &Request, fault: Fault) -> Option<Vec<u8>> {
    match fault {
        Fault::Status(status) => {
            let text = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
            let head = format!("Content-Length: {}\r\nRetry-After: 1\r\nConnection: close", text.len());
            return Some(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{text}").into_bytes());
        }
        Fault::Hang(time) => {
            std::thread::sleep(time);
            return None;
        }
        Fault::Close => return None,
        Fault::Slow(time) => std::thread::sleep(time),
        Fault::None | Fault::Cut | Fault::WrongByte => {}
    }
    let mut answer = forward(upstream, &request.bytes)?;
    let start = answer.len() - body(&answer).len();
    let middle = start + (answer.len() - start) / 2;
    match fault {
        Fault::Cut => answer.truncate(middle),
        Fault::WrongByte if middle < answer.len() => answer[middle] ^= 1,
        _ => {}
    }
    Some(answer)
}

fn forward(upstream: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}

fn body(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |i| i + 4);
    &answer[end..]
}

/// One whole request, changed so that the server ends the connection after its answer.
pub fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut block = vec![0; 1 << 16];
    let head = loop {
        let n = stream.read(&mut block).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&block[..n]);
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length = text.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    while bytes.len() < head + 4 + length.unwrap_or(0) {
        let n = stream.read(&mut block).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&block[..n]);
    }
    let mut first = text.lines().next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let kept: Vec<&str> = text.lines().filter(|l| !l.to_ascii_lowercase().starts_with("connection:")).collect();
    let mut whole = format!("{}\r\nConnection: close\r\n\r\n", kept.join("\r\n")).into_bytes();
    whole.extend_from_slice(&bytes[head + 4..]);
    Some(Request { method, path, bytes: whole })
}
