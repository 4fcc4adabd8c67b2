//! What the tests of this module share: loopback servers and archives made in memory.

use std::{
    collections::HashMap,
    io::{Cursor, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use flate2::{Compression, write::GzEncoder};
use zip::{ZipWriter, write::SimpleFileOptions};

pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// First byte that a `Range` header asks for, and the one after the last, if given.
    pub fn range(&self) -> Option<(usize, Option<usize>)> {
        let (start, end) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse().ok()?, end.parse::<usize>().ok().map(|end| end + 1)))
    }
}

/// A server on this machine that lives as long as the test process.
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Requests so far: method, path, and the range if any.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// Answers every request with the raw bytes that `handler` gives for it and its number; then closes the connection.
pub fn serve(handler: impl Fn(&Request, usize) -> Vec<u8> + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = log.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Some(request) = read_request(&mut stream) else { continue };
            let number = {
                let mut log = writer.lock().unwrap();
                let range = request.header("range").map(|r| format!(" {r}")).unwrap_or_default();
                log.push(format!("{} {}{range}", request.method, request.path));
                log.len() - 1
            };
            let _ = stream.write_all(&handler(&request, number));
        }
    });
    Server { url, log }
}

fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    let head = loop {
        let n = stream.read(&mut block).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&block[..n]);
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<_, _> =
        lines.filter_map(|l| l.split_once(": ")).map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned())).collect();
    let length: usize = headers.get("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let mut body = bytes[head + 4..].to_vec();
    while body.len() < length {
        let n = stream.read(&mut block).ok().filter(|n| *n > 0)?;
        body.extend_from_slice(&block[..n]);
    }
    Some(Request { method, path, headers, body })
}

/// A whole response; `headers` end in `\r\n` each.
pub fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The whole body or the range that is asked for, as a well-behaved server gives it.
pub fn ranged(request: &Request, etag: &str, body: &[u8]) -> Vec<u8> {
    let tag = format!("ETag: {etag}\r\n");
    let same = request.header("if-range").is_none_or(|validator| validator == etag);
    match request.range() {
        Some((start, end)) if same => {
            let end = end.unwrap_or(body.len()).min(body.len());
            let range = format!("{tag}Content-Range: bytes {start}-{}/{}\r\n", end - 1, body.len());
            response("206 Partial Content", &range, &body[start..end])
        }
        _ => response("200 OK", &tag, body),
    }
}

/// Bytes that are the same in every run and don't repeat soon.
pub fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
    bytes
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    tar_bytes(&files.iter().map(|(name, text)| (*name, text.as_bytes())).collect::<Vec<_>>())
}

pub fn tar_bytes(files: &[(&str, &[u8])]) -> Vec<u8> {
    tar_raw(&files.iter().map(|(name, bytes)| (*name, *bytes, None)).collect::<Vec<_>>())
}

/// Names go in unchecked; an entry with a link target is a symbolic link.
pub fn tar_raw(entries: &[(&str, &[u8], Option<&str>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes, link) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        if let Some(target) = link {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name(target).unwrap();
        }
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    zip_bytes(&files.iter().map(|(name, text)| (*name, text.as_bytes())).collect::<Vec<_>>())
}

pub fn zip_bytes(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub fn zip_link(name: &str, target: &str) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink(name, target, SimpleFileOptions::default()).unwrap();
    writer.finish().unwrap().into_inner()
}
