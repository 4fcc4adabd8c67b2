//! As much of Azure's and Google's object storage as small objects need: PUT, GET and HEAD, with the condition that there is
//! nothing yet. Nobody's credentials are looked at.

use std::{
    collections::BTreeMap,
    io::Write,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use super::s3::{Request, read_request};

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

pub struct Memory {
    pub url: String,
    objects: Objects,
}

impl Memory {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let objects = Objects::default();
        let shared = objects.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let objects = shared.clone();
                std::thread::spawn(move || {
                    if let Some(request) = read_request(&mut stream) {
                        let _ = stream.write_all(&answer(&request, &objects));
                    }
                });
            }
        });
        Self { url, objects }
    }

    pub fn objects(&self) -> Vec<(String, Vec<u8>)> {
        self.objects.lock().unwrap().clone().into_iter().collect()
    }
}

fn answer(request: &Request, objects: &Objects) -> Vec<u8> {
    let path = request.path.split('?').next().unwrap_or_default().replace("%2F", "/");
    let mut objects = objects.lock().unwrap();
    let only_new = request.has("if-none-match: *") || request.has("x-goog-if-generation-match: 0");
    let (status, body) = match (request.method.as_str(), objects.get(&path)) {
        ("PUT", Some(_)) if only_new => ("412 Precondition Failed", Vec::new()),
        ("PUT", _) => {
            objects.insert(path, request.body().to_vec());
            ("201 Created", Vec::new())
        }
        ("GET" | "HEAD", Some(bytes)) => ("200 OK", bytes.clone()),
        ("GET" | "HEAD", None) => ("404 Not Found", Vec::new()),
        _ => ("405 Method Not Allowed", Vec::new()),
    };
    let etag = blake3::hash(&body).to_hex();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"{etag}\"\r\nx-goog-generation: 1\r\n\
         Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let sent = if request.method == "HEAD" { &[][..] } else { &body };
    [head.as_bytes(), sent].concat()
}
