//! A server on the loopback that sends one file slowly, and goes on where a client asks it to.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

/// Serves `body` at any path, `block` bytes at a time with a pause in between, as long as the test process lives.
/// Returns `http://127.0.0.1:PORT`.
pub fn serve(body: Vec<u8>, block: usize, pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let body = body.clone();
            // A client that is killed breaks the connection; that is what this server is for.
            std::thread::spawn(move || answer(stream, &body, block, pause));
        }
    });
    url
}

fn answer(mut stream: TcpStream, body: &[u8], block: usize, pause: Duration) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let from: usize = head
        .split_once("range: bytes=")
        .and_then(|(_, rest)| rest.split_once('-')?.0.parse().ok())
        .filter(|from| *from < body.len())
        .unwrap_or(0);
    let status = match from {
        0 => "200 OK".to_owned(),
        _ => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}", body.len() - 1, body.len()),
    };
    let length = body.len() - from;
    write!(stream, "HTTP/1.1 {status}\r\nETag: \"one\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    if head.starts_with("head ") {
        return Ok(());
    }
    for part in body[from..].chunks(block) {
        stream.write_all(part)?;
        stream.flush()?;
        std::thread::sleep(pause);
    }
    Ok(())
}
