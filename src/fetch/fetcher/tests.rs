//! Whole fetches from loopback servers, mirror folders and local files.

use std::{
    cell::Cell,
    sync::Mutex,
    time::{Duration, Instant},
};

use sha2::Digest as _;
use tempfile::TempDir;

use super::*;
use crate::fetch::{loopback::*, placed_files, source::Sha256};

mod distrust;

/// Folders and settings of one test.
struct Lab {
    dir: TempDir,
    settings: Settings,
}

impl Lab {
    fn new() -> Self {
        let settings = Settings { backoff: Duration::from_millis(1), ..Settings::default() };
        Self { dir: tempfile::tempdir().unwrap(), settings }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file below the mirror folder and switches the mirror on.
    fn mirror(&mut self, place: &str, bytes: &[u8]) {
        let path = self.path("mirror").join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self.settings.mirror = Some(self.path("mirror"));
    }

    fn fetch_watched(&self, source: &Source, watch: &dyn Watch) -> Result<Vec<u8>> {
        let fetcher = Fetcher::new(self.settings.clone());
        let (into, work) = (self.path("into"), self.path("work"));
        let _ = fs::remove_file(into.join("f.bin"));
        let outcome = fetcher.fetch(source, "f.bin", &into, &work, watch);
        let placed = fs::read(into.join("f.bin"));
        assert_eq!(outcome.is_ok(), placed.is_ok(), "a file is visible exactly where fetching succeeded");
        outcome.map(|_| placed.unwrap())
    }

    fn fetch(&self, source: &Source) -> Result<Vec<u8>> {
        self.fetch_watched(source, &())
    }

    /// Names in the work folder.
    fn kept(&self) -> Vec<String> {
        placed_files::names(&self.path("work"))
    }
}

fn source(url: impl Into<String>, bytes: &[u8]) -> Source {
    Source {
        url: Some(url.into()),
        blake3: Some(Digest::of(bytes)),
        sha256: None,
        size: None,
        mirrors: Vec::new(),
        manual: None,
        local: false,
    }
}

/// Collects notes and stops after some reports of bytes.
#[derive(Default)]
struct Watcher {
    notes: Mutex<Vec<String>>,
    last: Cell<(u64, Option<u64>)>,
    stop: Cell<bool>,
}

impl Watch for Watcher {
    fn bytes(&self, done: u64, total: Option<u64>) {
        self.last.set((done, total));
    }
    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
    fn stop(&self) -> bool {
        self.stop.get()
    }
}

#[test]
fn a_cut_connection_is_continued_where_it_broke() {
    let body = noise(300_000);
    let server = serve({
        let body = body.clone();
        move |request, n| {
            let mut all = ranged(request, "\"v1\"", &body);
            if n == 0 {
                all.truncate(all.len() - 100_000);
            }
            all
        }
    });
    let lab = Lab::new();
    let watch = Watcher::default();
    assert_eq!(lab.fetch_watched(&source(format!("{}/f", server.url), &body), &watch).unwrap(), body);
    let log = server.log();
    assert_eq!(log[0], "GET /f");
    assert_eq!(log.len(), 2);
    assert!(log[1].starts_with("GET /f bytes=2"), "{log:?}");
    assert_eq!(watch.last.get(), (300_000, Some(300_000)));
    assert!(lab.kept().is_empty(), "{:?}", lab.kept());
}

#[test]
fn a_stopped_download_goes_on_in_the_next_run() {
    let body = noise(300_000);
    let server = serve({
        let body = body.clone();
        move |request, n| {
            let mut all = ranged(request, "\"v1\"", &body);
            if n == 0 {
                all.truncate(all.len() - 100_000);
            }
            all
        }
    });
    struct StopOnNote(Watcher);
    impl Watch for StopOnNote {
        fn bytes(&self, _: u64, _: Option<u64>) {}
        fn note(&self, _: &str) {
            self.0.stop.set(true);
        }
        fn stop(&self) -> bool {
            self.0.stop.get()
        }
    }
    let lab = Lab::new();
    let source = source(format!("{}/f", server.url), &body);
    let e = lab.fetch_watched(&source, &StopOnNote(Watcher::default())).unwrap_err();
    assert_eq!(e.category, Category::Interrupted);
    assert_eq!(lab.kept().len(), 2, "the part and its note: {:?}", lab.kept());
    assert_eq!(lab.fetch(&source).unwrap(), body);
    assert!(server.log()[1].starts_with("GET /f bytes=2"), "{:?}", server.log());
}

#[test]
fn a_file_that_changes_between_two_tries_is_never_mixed() {
    let (old, new) = (noise(200_000), vec![7; 200_000]);
    // With a validator the server sends everything again; without one, the pin finds out and the download starts over.
    for (first_tag, second_tag) in [("\"v1\"", "\"v2\""), ("W/\"x\"", "W/\"x\"")] {
        let server = serve({
            let (old, new) = (old.clone(), new.clone());
            move |request, n| {
                if n == 0 {
                    let mut all = ranged(request, first_tag, &old);
                    all.truncate(all.len() - 50_000);
                    return all;
                }
                ranged(request, second_tag, &new)
            }
        });
        let lab = Lab::new();
        assert_eq!(lab.fetch(&source(format!("{}/f", server.url), &new)).unwrap(), new);
    }
}

#[test]
fn a_server_that_ignores_ranges_sends_everything_again() {
    let body = noise(200_000);
    let server = serve({
        let body = body.clone();
        move |_, n| {
            let mut all = response("200 OK", "ETag: \"v\"\r\n", &body);
            if n == 0 {
                all.truncate(all.len() - 50_000);
            }
            all
        }
    });
    assert_eq!(Lab::new().fetch(&source(format!("{}/f", server.url), &body)).unwrap(), body);
    assert_eq!(server.log().len(), 2);
}

#[test]
fn a_body_that_always_ends_early_is_an_error_at_last() {
    let server = serve(|_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec());
    let e = Lab::new().fetch(&source(format!("{}/f", server.url), b"halfhalf!!")).unwrap_err();
    assert_eq!(e.category, Category::Environment);
    assert!(server.log().len() > 2);
}

#[test]
fn passing_trouble_is_waited_out() {
    let server = serve(|_, n| match n {
        0 => response("500 Internal Server Error", "", b""),
        1 => response("429 Too Many Requests", "Retry-After: 0\r\n", b""),
        _ => response("200 OK", "", b"ok"),
    });
    let watch = Watcher::default();
    let bytes = Lab::new().fetch_watched(&source(format!("{}/f", server.url), b"ok"), &watch).unwrap();
    assert_eq!(bytes, b"ok");
    let notes = watch.notes.lock().unwrap();
    assert!(notes[0].contains("500") && notes[1].contains("429"), "{notes:?}");
}

#[test]
fn trouble_that_stays_is_the_environments() {
    let server = serve(|_, _| response("503 Service Unavailable", "", b""));
    let e = Lab::new().fetch(&source(format!("{}/f", server.url), b"ok")).unwrap_err();
    assert_eq!(e.category, Category::Environment);
    assert!(e.message.contains("503"), "{e}");
}

#[test]
fn a_missing_file_is_not_asked_for_twice_but_mirrors_are() {
    let server = serve(|request, _| match request.path.as_str() {
        "/good" => response("200 OK", "", b"ok"),
        _ => response("404 Not Found", "", b"<html>"),
    });
    let lab = Lab::new();
    let mut source = source(format!("{}/bad", server.url), b"ok");
    let e = lab.fetch(&source).unwrap_err();
    assert_eq!(e.category, Category::Input);
    assert!(e.message.contains("404") && e.message.contains("/bad") && e.message.contains("f.bin"), "{e}");
    assert!(e.help.unwrap().contains("--mirror"));
    assert_eq!(server.log().len(), 1);

    source.manual = Some("ask the authors".into());
    assert_eq!(lab.fetch(&source).unwrap_err().help.unwrap(), "ask the authors");

    source.mirrors = vec![format!("{}/bad2", server.url), format!("{}/good", server.url)];
    assert_eq!(lab.fetch(&source).unwrap(), b"ok");
}

#[test]
fn wrong_bytes_stop_and_nothing_is_kept() {
    let server = serve(|_, _| response("200 OK", "", b"changed"));
    let lab = Lab::new();
    let mut source = source(format!("{}/f", server.url), b"original");
    source.mirrors = vec![format!("{}/mirror", server.url)];
    let e = lab.fetch(&source).unwrap_err();
    assert_eq!(e.category, Category::Input);
    for part in [Digest::of(b"changed").to_string(), Digest::of(b"original").to_string(), source.url.clone().unwrap()] {
        assert!(e.message.contains(&part), "{e}");
    }
    assert!(lab.kept().is_empty(), "{:?}", lab.kept());
    assert_eq!(server.log().len(), 1, "a mismatch stops; it isn't papered over by a mirror");

    source.blake3 = Some(Digest::of(b"changed"));
    source.size = Some(8);
    let e = lab.fetch(&source).unwrap_err();
    assert!(e.message.contains("8 bytes") && e.message.contains("7 bytes"), "{e}");
}

#[test]
fn a_sha256_pins_alone_or_beside_a_blake3() {
    let of = |bytes: &[u8]| Sha256(sha2::Sha256::digest(bytes).into());
    let server = serve(|_, _| response("200 OK", "", b"weights"));
    let lab = Lab::new();
    let published = Source { blake3: None, sha256: Some(of(b"weights")), ..source(format!("{}/f", server.url), b"") };
    assert_eq!(lab.fetch(&published).unwrap(), b"weights");
    assert_eq!(published.pin().unwrap().to_string(), format!("sha256:{}", of(b"weights")));

    let both = Source { blake3: Some(Digest::of(b"weights")), ..published.clone() };
    assert_eq!(lab.fetch(&both).unwrap(), b"weights");
    assert_eq!(both.pin().unwrap().to_string(), Digest::of(b"weights").to_string());

    let other = of(b"other");
    for wrong in [Source { sha256: Some(other), ..published }, Source { sha256: Some(other), ..both }] {
        let e = lab.fetch(&wrong).unwrap_err();
        assert!(e.message.contains("is not the file that is pinned"), "{e}");
        assert!(
            e.message.contains(&format!("SHA-256 {other}")) && e.message.contains(&of(b"weights").to_string()),
            "{e}"
        );
        assert!(lab.kept().is_empty(), "{:?}", lab.kept());
    }
    assert!("12".parse::<Sha256>().is_err() && "é".repeat(32).parse::<Sha256>().is_err());
}

#[test]
fn redirects_are_followed() {
    let server = serve(|request, _| match request.path.as_str() {
        "/old" => response("302 Found", "Location: /new\r\n", b""),
        "/loop" => response("302 Found", "Location: /loop\r\n", b""),
        _ => response("200 OK", "", b"ok"),
    });
    let lab = Lab::new();
    assert_eq!(lab.fetch(&source(format!("{}/old", server.url), b"ok")).unwrap(), b"ok");
    let e = Lab::new().fetch(&source(format!("{}/loop", server.url), b"ok")).unwrap_err();
    assert!(e.message.contains("redirect"), "{e}");
}

#[test]
fn a_host_that_cant_be_reached_is_named() {
    // Bound and dropped: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let e = Lab::new().fetch(&source(format!("http://127.0.0.1:{port}/f"), b"ok")).unwrap_err();
    assert_eq!(e.category, Category::Environment);
    assert!(e.message.contains("can't reach 127.0.0.1"), "{e}");
    let help = e.help.unwrap();
    assert!(help.contains("no network?") && help.contains("--mirror") && help.contains("127.0.0.1"), "{help}");
}

#[test]
fn the_mirror_comes_first_and_offline_asks_nobody() {
    let server = serve(|_, _| response("200 OK", "", b"ok"));
    let source = source(format!("{}/a/f", server.url), b"ok");
    let mut lab = Lab::new();
    lab.settings.offline = true;
    let fetcher = Fetcher::new(lab.settings.clone());
    let e = lab.fetch(&source).unwrap_err();
    assert_eq!(e.category, Category::Input, "waiting doesn't help");
    assert!(e.message.contains("f.bin") && e.help.as_ref().unwrap().contains("DIR/127.0.0.1"), "{e:?}");
    assert_eq!(fetcher.check_reachable(&source, "f.bin").unwrap_err().message, e.message);

    lab.mirror("127.0.0.1/a/f", b"ok");
    assert_eq!(lab.fetch(&source).unwrap(), b"ok");
    lab.settings.offline = false;
    assert_eq!(lab.fetch(&source).unwrap(), b"ok");
    let elsewhere = Source {
        mirrors: source.url.clone().into_iter().collect(),
        ..self::source(format!("{}/other", server.url), b"ok")
    };
    assert_eq!(lab.fetch(&elsewhere).unwrap(), b"ok");
    assert!(server.log().is_empty());

    // Bytes from the mirror are checked like any others.
    lab.mirror("127.0.0.1/a/f", b"rotten");
    let e = lab.fetch(&source).unwrap_err();
    assert!(e.message.contains("mirror/127.0.0.1/a/f"), "{e}");
}

#[test]
fn local_files_are_copied_and_their_absence_is_known_early() {
    let lab = Lab::new();
    let path = lab.path("data.csv");
    let mut source = source(format!("file:{}", path.display()), b"a,b");
    source.manual = Some("get data.csv from its authors".into());
    let fetcher = Fetcher::new(lab.settings.clone());
    let e = fetcher.check_reachable(&source, "f.bin").unwrap_err();
    assert!(e.message.contains("data.csv"), "{e}");
    assert_eq!(e.help.unwrap(), format!("get data.csv from its authors\nput it at {}", path.display()));
    fs::write(&path, "a,b").unwrap();
    fetcher.check_reachable(&source, "f.bin").unwrap();
    assert_eq!(lab.fetch(&source).unwrap(), b"a,b");
    assert!(path.exists());
}

#[test]
fn a_pin_is_what_the_file_has() {
    let lab = Lab::new();
    fs::write(lab.path("x"), "hello").unwrap();
    let source = source(format!("file:{}", lab.path("x").display()), b"something else");
    let fetched = Fetcher::new(lab.settings.clone()).digest_of(&source, "x", &lab.path("work"), &()).unwrap();
    assert_eq!(fetched, Fetched { digest: Digest::of(b"hello"), size: 5 });
    assert!(lab.kept().is_empty());
}

#[test]
fn names_cant_leave_the_artifact() {
    let lab = Lab::new();
    fs::write(lab.path("x"), "hello").unwrap();
    let source = source(format!("file:{}", lab.path("x").display()), b"hello");
    let fetcher = Fetcher::new(lab.settings.clone());
    for name in ["../x", "/x", "", "a/../../x"] {
        assert!(fetcher.fetch(&source, name, &lab.path("into"), &lab.path("work"), &()).is_err(), "{name}");
    }
}

/// A package index with one package of one wheel and one source archive.
struct Index {
    server: Server,
    wheel: Vec<u8>,
    sdist: Vec<u8>,
}

fn index(html: bool, tamper: bool) -> Index {
    let inner = gz(&tar(&[("in/deep.txt", "deep")]));
    let wheel = zip(&[("my_pkg/data.txt", "from the wheel")]);
    let sdist = gz(&tar_bytes(&[
        ("my_pkg-1.0/my_pkg/data.txt", b"from the sdist"),
        ("my_pkg-1.0/extra/inner.tar.gz", &inner),
        ("my_pkg-1.0/setup.py", b"raise SystemExit('executed')"),
    ]));
    let hash = |bytes: &[u8]| sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let (wheel_hash, sdist_hash) = (hash(&wheel), hash(&sdist));
    let page = if html {
        format!(
            "<html><a href='../../files/my_pkg-1.0-py3-none-any.whl#sha256={wheel_hash}'>x</a>\
             <a href='../../files/my_pkg-1.0.tar.gz#sha256={sdist_hash}'>y</a></html>"
        )
    } else {
        let file = |name: &str, hash: &str| serde_json::json!({"filename": name, "url": format!("../../files/{name}"), "hashes": {"sha256": hash}});
        let files = [file("my_pkg-1.0-py3-none-any.whl", &wheel_hash), file("my_pkg-1.0.tar.gz", &sdist_hash)];
        serde_json::json!({ "files": files }).to_string()
    };
    let server = serve({
        let (wheel, sdist) = (wheel.clone(), sdist.clone());
        move |request, _| match request.path.as_str() {
            "/simple/my-pkg/" if html => response("200 OK", "Content-Type: text/html\r\n", page.as_bytes()),
            "/simple/my-pkg/" => {
                response("200 OK", "Content-Type: application/vnd.pypi.simple.v1+json\r\n", page.as_bytes())
            }
            path if path.ends_with(".whl") && tamper => response("200 OK", "", b"tampered with"),
            path if path.ends_with(".whl") => response("200 OK", "", &wheel),
            path if path.ends_with(".tar.gz") => response("200 OK", "", &sdist),
            _ => response("404 Not Found", "", b""),
        }
    });
    Index { server, wheel, sdist }
}

fn package_lab(index: &Index) -> Lab {
    let mut lab = Lab::new();
    lab.settings.index = Some(format!("{}/simple/", index.server.url));
    lab
}

#[test]
fn members_of_wheels_and_source_archives() {
    for html in [false, true] {
        let index = index(html, false);
        let lab = package_lab(&index);
        for (member, bytes) in [
            ("my_pkg/data.txt", "from the wheel"),
            ("my_pkg-1.0/my_pkg/data.txt", "from the sdist"),
            ("extra/inner.tar.gz/in/deep.txt", "deep"),
            ("my_pkg-1.0/extra/inner.tar.gz/in/deep.txt", "deep"),
        ] {
            let url = format!("pypi:My.Pkg==1.0#{member}");
            assert_eq!(lab.fetch(&source(url, bytes.as_bytes())).unwrap(), bytes.as_bytes(), "{member}");
        }
        let archives = index.server.log().iter().filter(|line| line.contains("/files/")).count();
        assert_eq!(archives, 2, "what the work folder has is not downloaded again: {:?}", index.server.log());
    }
}

#[test]
fn an_archive_that_the_index_doesnt_vouch_for_is_refused() {
    for html in [false, true] {
        let index = index(html, true);
        let lab = package_lab(&index);
        let e = lab.fetch(&source("pypi:my-pkg==1.0#my_pkg/data.txt", b"from the wheel")).unwrap_err();
        assert_eq!(e.category, Category::Input);
        assert!(e.message.contains("SHA-256") && e.message.contains("py3-none-any.whl"), "{e}");
        assert!(lab.kept().is_empty(), "{:?}", lab.kept());
    }
}

#[test]
fn the_pin_of_a_member_is_checked_too() {
    let index = index(false, false);
    let e = package_lab(&index).fetch(&source("pypi:my-pkg==1.0#my_pkg/data.txt", b"other")).unwrap_err();
    assert!(e.message.contains(&Digest::of(b"from the wheel").to_string()), "{e}");
}

#[test]
fn what_a_package_lacks_is_said() {
    let index = index(false, false);
    let lab = package_lab(&index);
    let e = lab.fetch(&source("pypi:my-pkg==1.0#data.txt", b"")).unwrap_err();
    assert!(e.message.contains("has no member data.txt"), "{e}");
    assert!(e.help.unwrap().contains("my_pkg/data.txt"));
    let e = lab.fetch(&source("pypi:my-pkg==2.0#x", b"")).unwrap_err();
    assert!(e.message.contains("no archive of my-pkg 2.0"), "{e}");
    assert!(e.help.unwrap().contains("my_pkg-1.0.tar.gz"));
    let e = lab.fetch(&source("pypi:other==1.0#x", b"")).unwrap_err();
    assert!(e.message.contains("404"), "{e}");
}

#[test]
fn packages_from_the_mirror_need_no_index() {
    let index = index(false, false);
    let mut lab = package_lab(&index);
    lab.settings.offline = true;
    let url = "pypi:my-pkg==1.0#my_pkg/data.txt";
    let e = lab.fetch(&source(url, b"from the wheel")).unwrap_err();
    assert!(e.help.as_ref().unwrap().contains("DIR/pypi/my-pkg/1.0"), "{e:?}");
    lab.mirror("pypi/my-pkg/1.0/my_pkg-1.0.tar.gz", &index.sdist);
    assert_eq!(lab.fetch(&source(url, b"from the sdist")).unwrap(), b"from the sdist");
    lab.mirror("pypi/my-pkg/1.0/my_pkg-1.0-py3-none-any.whl", &index.wheel);
    assert_eq!(lab.fetch(&source(url, b"from the wheel")).unwrap(), b"from the wheel");
    assert!(index.server.log().is_empty());
}

fn hub_server(body: Vec<u8>, listings: bool, cut_at: Option<usize>) -> Server {
    serve(move |request, n| {
        let meta = format!("X-Repo-Commit: {}\r\nETag: \"e\"\r\nAccept-Ranges: bytes\r\n", "a".repeat(40));
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/api/models/org/repo/paths-info/main") if listings => {
                assert!(String::from_utf8_lossy(&request.body).contains("sub/f.bin"));
                let entry = serde_json::json!([{"type": "file", "oid": "e", "size": body.len(), "path": "sub/f.bin"}]);
                response("200 OK", "Content-Type: application/json\r\n", entry.to_string().as_bytes())
            }
            ("HEAD", "/org/repo/resolve/main/sub/f.bin") => {
                let head = response("200 OK", &meta, &body);
                head[..head.len() - body.len()].to_vec()
            }
            ("GET", "/org/repo/resolve/main/sub/f.bin") if cut_at.is_some_and(|at| n >= at) => {
                response("404 Not Found", "", b"")
            }
            ("GET", "/org/repo/resolve/main/sub/f.bin") => ranged(request, "\"e\"", &body),
            _ => response("405 Method Not Allowed", "", b""),
        }
    })
}

#[test]
fn hub_files_come_in_chunks_and_go_on_after_an_interruption() {
    let body = noise(250_000);
    let file = match "hf://org/repo@main/sub/f.bin".parse().unwrap() {
        Location::Hub(file) => file,
        other => panic!("{other}"),
    };
    let lab = Lab::new();
    fs::create_dir_all(lab.path("work")).unwrap();
    let to = lab.path("work/out");
    let download = |server: &Server| {
        let hub = Hub::new(Some(&server.url), Duration::from_millis(1)).unwrap().with_chunk(100_000);
        hub.download(&file, &lab.path("work"), &to, &())
    };
    // Listing, then HEAD and GET for each chunk: the second chunk fails.
    download(&hub_server(body.clone(), true, Some(4))).unwrap_err();
    let server = hub_server(body.clone(), true, None);
    assert!(download(&server).unwrap(), "the first chunk is kept");
    assert_eq!(fs::read(&to).unwrap(), body);
    let ranges: Vec<_> = server.log().into_iter().filter(|line| line.starts_with("GET")).collect();
    assert!(ranges.len() == 2 && ranges[0].ends_with("bytes=100000-199999"), "{ranges:?}");
}

#[test]
fn a_hub_without_listings_still_gives_files() {
    let body = noise(1000);
    let server = hub_server(body.clone(), false, None);
    let mut lab = Lab::new();
    lab.settings.hub = Some(server.url.clone());
    assert_eq!(lab.fetch(&source("hf://org/repo@main/sub/f.bin", &body)).unwrap(), body);
    let e = lab.fetch(&source("hf://org/other@main/sub/f.bin", &body));
    assert!(e.is_err());
}

#[test]
fn the_hub_has_its_place_in_the_mirror() {
    let mut lab = Lab::new();
    lab.settings.offline = true;
    lab.settings.hub = Some("http://127.0.0.1:9".into());
    let started = Instant::now();
    let source = source("hf://org/repo@main/f.bin", b"ok");
    let e = lab.fetch(&source).unwrap_err();
    assert!(e.help.unwrap().contains("huggingface.co/org/repo/resolve/main/f.bin"));
    lab.mirror("huggingface.co/org/repo/resolve/main/f.bin", b"ok");
    assert_eq!(lab.fetch(&source).unwrap(), b"ok");
    assert!(started.elapsed() < Duration::from_secs(5), "nobody was asked");
}
