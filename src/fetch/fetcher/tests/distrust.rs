//! Servers that do what they shouldn't.

use super::*;

fn unpinned(url: impl Into<String>) -> Source {
    Source { blake3: None, ..source(url, b"") }
}

/// What `pin` would say, or the digest it would write.
fn pinned(lab: &Lab, source: &Source) -> Result<Digest> {
    Fetcher::new(lab.settings.clone()).digest_of(source, "f.csv", &lab.path("work"), &()).map(|fetched| fetched.digest)
}

#[test]
fn an_unasked_part_is_completed_or_refused() {
    let body = noise(1000);
    let part = move |range: (usize, Option<usize>), body: &[u8]| {
        let (start, end) = (range.0, range.1.unwrap_or(body.len()).min(range.0 + 400).min(body.len()));
        let head = format!("ETag: \"a\"\r\nContent-Range: bytes {start}-{}/{}\r\n", end - 1, body.len());
        response("206 Partial Content", &head, &body[start..end])
    };
    let whole = body.clone();
    let server = serve(move |request, _| part(request.range().unwrap_or((0, None)), &whole));
    let lab = Lab::new();
    let url = format!("{}/f", server.url);
    assert_eq!(pinned(&lab, &unpinned(&url)).unwrap(), Digest::of(&body));
    assert_eq!(lab.fetch(&source(&url, &body)).unwrap(), body);
    assert!(lab.kept().is_empty(), "{:?}", lab.kept());
    for range in ["bytes 400-799/1000", "bytes 0-399/*", "bytes 0-399", "bytes 9-0/1000"] {
        let whole = body.clone();
        let server =
            serve(move |_, _| response("206 Partial Content", &format!("Content-Range: {range}\r\n"), &whole[..400]));
        let e = pinned(&lab, &unpinned(format!("{}/f", server.url))).unwrap_err();
        assert!(e.message.contains("part of the file (206)"), "{range}: {e}");
        assert!(lab.kept().is_empty(), "{:?}", lab.kept());
    }
}

#[test]
fn a_part_that_isnt_the_one_that_was_asked_for_is_never_joined() {
    for range in ["bytes 0-99/1000", "bytes 500-999/2000", "bytes 500-999/*", "bytes 500-599/1000"] {
        let body = noise(1000);
        let whole = body.clone();
        let server = serve(move |request, n| match (request.range(), n) {
            (_, 0) => {
                let all = ranged(request, "\"a\"", &whole);
                all[..all.len() - 500].to_vec()
            }
            (Some(_), 1) => response("206 Partial Content", &format!("Content-Range: {range}\r\n"), &whole[..500]),
            _ => ranged(request, "\"a\"", &whole),
        });
        let lab = Lab::new();
        assert_eq!(pinned(&lab, &unpinned(format!("{}/f", server.url))).unwrap(), Digest::of(&body), "{range}");
    }
}

#[test]
fn an_encoding_that_nobody_asked_for_is_named() {
    for encoding in ["gzip", "deflate", "br", "x-gzip"] {
        let server = serve(move |request, _| {
            assert_eq!(request.header("accept-encoding"), Some("identity"));
            response("200 OK", &format!("Content-Encoding: {encoding}\r\n"), b"encoded")
        });
        let (lab, url) = (Lab::new(), format!("{}/f", server.url));
        let e = pinned(&lab, &unpinned(&url)).unwrap_err();
        assert!(e.message.contains(&format!("encoded as `{encoding}`")) && e.help.is_some(), "{e}");
        assert!(lab.kept().is_empty(), "{:?}", lab.kept());
        assert_eq!(lab.fetch(&source(&url, b"encoded")).unwrap(), b"encoded", "a pin says which bytes are meant");
        let e = lab.fetch(&source(&url, b"decoded")).unwrap_err();
        assert!(e.message.contains("not the file that is pinned") && e.message.contains(encoding), "{e}");
    }
    let plain = serve(|_, _| response("200 OK", "Content-Encoding: identity\r\n", b"x"));
    assert!(pinned(&Lab::new(), &unpinned(format!("{}/f", plain.url))).is_ok());
}

#[test]
fn a_web_page_is_no_data() {
    let server = serve(|_, _| response("200 OK", "Content-Type: text/html\r\n", b"\n<!DOCTYPE html><title>Log in"));
    let (lab, url) = (Lab::new(), format!("{}/f", server.url));
    let e = pinned(&lab, &unpinned(&url)).unwrap_err();
    assert!(e.message.contains("web page"), "{e}");
    let e = lab.fetch(&source(&url, b"data")).unwrap_err();
    assert!(e.message.contains("not the file that is pinned") && e.message.contains("web page"), "{e}");
}

#[test]
fn a_body_without_length_is_taken_only_where_something_vouches_for_it() {
    let server = serve(|_, _| b"HTTP/1.1 200 OK\r\n\r\nhalf of".to_vec());
    let (lab, url) = (Lab::new(), format!("{}/f", server.url));
    let e = pinned(&lab, &unpinned(&url)).unwrap_err();
    assert!(e.message.contains("doesn't say where the file ends"), "{e}");
    assert_eq!(lab.fetch(&source(&url, b"half of")).unwrap(), b"half of");
    let chunked = serve(|_, _| b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n".to_vec());
    assert_eq!(pinned(&lab, &unpinned(format!("{}/f", chunked.url))).unwrap(), Digest::of(b"all"));
}

#[test]
fn a_file_for_which_there_is_no_room_isnt_begun() {
    let server = serve(|_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\nx".to_vec());
    let lab = Lab::new();
    let e = lab.fetch(&source(format!("{}/f", server.url), b"x")).unwrap_err();
    assert!(e.message.contains("has room for"), "{e}");
    assert!(lab.kept().is_empty(), "{:?}", lab.kept());
}

#[test]
fn a_server_that_says_nothing_keeps_nobody_waiting() {
    struct StopSoon(Instant);
    impl Watch for StopSoon {
        fn bytes(&self, _: u64, _: Option<u64>) {}
        fn note(&self, _: &str) {}
        fn stop(&self) -> bool {
            self.0.elapsed() > Duration::from_millis(300)
        }
    }
    // Neither ever answers: one doesn't accept, the other stops in the middle of the body.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stalled = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = [&silent, &stalled].map(|l| format!("http://{}/f", l.local_addr().unwrap()));
    std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = stalled.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx").unwrap();
        std::thread::park();
    });
    for url in urls {
        let e = Lab::new().fetch_watched(&source(url, b"x"), &StopSoon(Instant::now())).unwrap_err();
        assert_eq!(e.category, Category::Interrupted);
    }
}

#[test]
fn redirects_take_nothing_along_and_lead_nowhere_inside() {
    let other = serve(|request, _| {
        assert_eq!((request.header("authorization"), request.header("referer")), (None, None));
        response("200 OK", "", b"ok")
    });
    let to = format!("Location: {}/g\r\n", other.url);
    let server = serve(move |request, _| {
        assert!(request.header("authorization").is_some());
        response("302 Found", &to, b"")
    });
    let url = format!("{}/f?sig=t0ken", server.url.replace("//", "//bob:pa55word@"));
    assert_eq!(Lab::new().fetch(&source(&url, b"ok")).unwrap(), b"ok");

    let lab = Lab::new();
    for (inside, location) in
        [("127.0.0.1", other.url.clone()), ("localhost", other.url.replace("127.0.0.1", "localhost"))]
    {
        let location = format!("Location: {location}/g\r\n");
        let server = serve(move |_, _| response("302 Found", &location, b""));
        let mut fetcher = Fetcher::new(lab.settings.clone());
        fetcher.web.pretend_public = true;
        let source = source(format!("{}/f", server.url), b"ok");
        let e = fetcher.fetch(&source, "f", &lab.path("into"), &lab.path("work"), &()).unwrap_err();
        assert!(e.message.contains(inside) && e.message.contains("of this machine"), "{e}");
    }
    let count = other.log().len();
    assert_eq!(count, 1, "nobody was asked");
}

#[test]
fn what_a_server_repeats_of_a_secret_is_not_shown() {
    let lab = Lab::new();
    let watch = Watcher::default();
    // In a redirect, in a reason, and in what the index says.
    let server = serve(|request, _| match request.path.as_str() {
        "/echo?sig=t0ken" => response("302 Found", "Location: gopher-t0ken://pa55word\r\n", b""),
        _ => response("503 t0ken pa55word", "X-Token: t0ken\r\n", b"t0ken pa55word"),
    });
    let host = server.url.replace("//", "//bob:pa55word@");
    for path in ["/echo?sig=t0ken", "/busy?sig=t0ken&x=1"] {
        let e = lab.fetch_watched(&source(format!("{host}{path}"), b"ok"), &watch).unwrap_err();
        let said = format!("{} {:?} {:?}", e.message, e.help, watch.notes.lock().unwrap());
        assert!(!said.contains("t0ken") && !said.contains("pa55word"), "{said}");
    }
}
