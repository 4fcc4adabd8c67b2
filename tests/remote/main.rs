//! Results shared between machines, from outside: each project is a machine with a store of its own.

#[path = "../common/mod.rs"]
mod common;
mod memory;
mod s3;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Project, Ran};
use s3::{Fault, Proxy, Server};

/// `words` is read, `count` has one action per letter, `big` is larger than two parts of an upload, `sum` gathers all.
/// Every action appends its name to `ran.log`, so that tests see what really ran.
const PIPELINE: &str = r#"
[pipeline]
name = "letters"

[stages.words]
kind = "exec"
command = ["sh", "-c", "echo words >> ran.log; tr 'A-Z' 'a-z' < words.txt > $0/words.txt", "{out}"]
files = ["words.txt"]
outputs = ["words.txt"]

[stages.count]
kind = "exec"
matrix = { letter = ["a", "b", "c"] }
inputs = { words = "words" }
command = ["sh", "-c", "echo count-${letter} >> ran.log; grep -o ${letter} $0 | wc -l > $1/count.txt", "{words}", "{out}"]
outputs = ["count.txt"]

[stages.big]
kind = "exec"
command = ["sh", "-c", "echo big >> ran.log; seq 1 2600000 > $0/big.txt; : > $0/empty.txt", "{out}"]
outputs = ["big.txt", "empty.txt"]

[stages.sum]
kind = "exec"
inputs = { counts = "count", big = "big" }
command = ["sh", "-c", "echo sum >> ran.log; cat $0/*/count.txt | tr -d ' ' | paste -sd+ > $2/sum.txt; cat $1/big.txt | wc -l >> $2/sum.txt", "{counts}", "{big}", "{out}"]
outputs = ["sum.txt"]
export = "reports"
"#;

const ALL: [&str; 6] = ["big", "count-a", "count-b", "count-c", "sum", "words"];
const SUM: &str = "5+2+1\n2600000\n";
const CANARY: &str = "canary-9f3a7c-secret";

fn machine(remote: &str) -> Project {
    let project = Project::new(&format!("{PIPELINE}\n[remote]\n{remote}\n"));
    project.write("words.txt", "Abracadabra\n");
    project
}

fn sharing(folder: &Path) -> Project {
    machine(&format!("url = {folder:?}"))
}

/// What ran since the last look.
fn log(project: &Project) -> Vec<String> {
    let text = fs::read_to_string(project.path("ran.log")).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    fs::write(project.path("ran.log"), "").unwrap();
    lines
}

/// The artifact of every action, as all journals of the store tell.
fn artifacts(project: &Project) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for run in fs::read_dir(project.path("cache/runs")).unwrap() {
        // A killed run's journal may be missing, or end in the middle of a line.
        for line in fs::read_to_string(run.unwrap().path().join("journal.jsonl")).unwrap_or_default().lines() {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            if let (Some(action), Some(artifact)) = (entry["action"].as_str(), entry["artifact"].as_str()) {
                found.insert(action.to_owned(), artifact.to_owned());
            }
        }
    }
    found
}

fn files_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Whatever a reader can see is whole: blobs are what their names say, and results name blobs that are there.
/// Returns the number of results.
fn assert_sound(objects: &[(String, Vec<u8>)]) -> usize {
    let digest_of = |name: &str| name.rsplit('/').take(2).collect::<Vec<_>>().into_iter().rev().collect::<String>();
    let visible: Vec<_> = objects.iter().filter(|(name, _)| !name.contains('#')).collect();
    let blobs: Vec<String> = visible.iter().filter(|(n, _)| n.contains("blobs/")).map(|(n, _)| digest_of(n)).collect();
    let mut results = 0;
    for (name, bytes) in visible {
        if name.contains("blobs/") {
            assert_eq!(blake3::hash(bytes).to_hex().as_str(), digest_of(name), "{name}");
            continue;
        }
        assert!(name.contains("results/"), "{name}");
        results += 1;
        let text = std::str::from_utf8(bytes).unwrap();
        let (sum, json) = text.trim_end().split_once(' ').unwrap();
        assert_eq!(blake3::hash(json.as_bytes()).to_hex().as_str(), sum, "{name}");
        let record: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(record["key"], digest_of(name).as_str());
        for file in record["files"].as_array().unwrap().iter().chain([&record["preimage"]]) {
            assert!(blobs.iter().any(|b| file["digest"] == b.as_str()), "{name} names a blob that isn't there");
        }
    }
    results
}

/// The path of the blob that holds `content`.
fn blob_of(folder: &Path, content: &[u8]) -> std::path::PathBuf {
    let hex = blake3::hash(content).to_hex();
    folder.join("v1/blobs").join(&hex[..2]).join(&hex[2..])
}

/// A second machine gets everything and computes nothing.
#[track_caller]
fn assert_shared(first: &Project, second: &Project, ran: Ran) {
    let text = ran.ok().stderr();
    assert!(log(second).is_empty(), "{text}");
    assert_eq!(second.computed(), [""; 0]);
    assert_eq!(second.read("reports/sum.txt"), SUM);
    assert_eq!(artifacts(first), artifacts(second));
}

#[test]
fn a_second_machine_computes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (sharing(folder.path()), sharing(folder.path()));
    let first = a.emopipe(&["run"]).ok().stderr();
    assert_eq!(log(&a), ALL);
    assert!(first.contains("6 results sent to the remote"), "{first}");
    assert_eq!(assert_sound(&files_below(folder.path())), 6);
    let ran = b.emopipe(&["run"]);
    let text = ran.stderr();
    assert!(text.contains("nothing to compute") && text.contains("6 of them from the remote"), "{text}");
    assert_shared(&a, &b, ran);
    assert!(b.emopipe(&["run"]).ok().stderr().contains("nothing to do"));
    let explained = b.emopipe(&["explain", "sum"]).ok().stdout();
    assert!(explained.contains("cached: key"), "{explained}");
    b.write("words.txt", "abc\n");
    let plan = b.emopipe(&["plan"]).ok().stdout();
    assert!(plan.contains("input `words` depends on words"), "what was fetched is explained, too: {plan}");
    let pulled: u64 = journal(&a, "pushed").iter().map(|e| e["bytes"].as_u64().unwrap()).sum();
    assert!(pulled > 19_000_000, "the journal counts bytes: {pulled}");
}

/// Events of this name in all journals of the store.
fn journal(project: &Project, event: &str) -> Vec<serde_json::Value> {
    let runs = fs::read_dir(project.path("cache/runs")).unwrap();
    let texts = runs.map(|run| fs::read_to_string(run.unwrap().path().join("journal.jsonl")).unwrap());
    let entries = texts.flat_map(|t| t.lines().map(|l| serde_json::from_str(l).unwrap()).collect::<Vec<_>>());
    entries.filter(|e: &serde_json::Value| e["event"] == event).collect()
}

#[test]
fn a_remote_changes_no_key_and_offline_does_not_touch_it() {
    let folder = tempfile::tempdir().unwrap();
    let a = sharing(folder.path());
    a.emopipe(&["run", "--offline"]).ok();
    assert_eq!(log(&a), ALL);
    assert!(files_below(folder.path()).is_empty());
    a.write("pipeline.toml", PIPELINE);
    assert!(a.emopipe(&["run"]).ok().stderr().contains("nothing to do"));
    a.emopipe(&["run", "--set", "remote.url=nowhere"]).ok();
    assert!(log(&a).is_empty());
}

#[test]
fn results_are_sent_and_fetched_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let a = machine(&format!("url = {:?}\npush = false\npull = false", folder.path()));
    a.emopipe(&["run", "--until", "count"]).ok();
    assert!(files_below(folder.path()).is_empty(), "`push = false`");
    let sent = a.emopipe(&["push", "words", "count[letter=a]"]).ok().stdout();
    assert!(sent.starts_with("2 results sent"), "{sent}");
    let sent = a.emopipe(&["push"]).ok().stdout();
    assert!(sent.starts_with("2 results sent") && sent.contains("2 already there; 2 not computed yet"), "{sent}");
    let again = a.emopipe(&["push", "--force", "words"]).ok().stdout();
    assert!(again.starts_with("1 results sent, 12 B"), "{again}");

    let b = machine(&format!("url = {:?}\npull = false", folder.path()));
    let fetched = b.emopipe(&["pull", "count[letter=b]"]).ok().stdout();
    assert!(fetched.starts_with("1 results fetched"), "{fetched}");
    let fetched = b.emopipe(&["pull"]).ok().stdout();
    assert!(fetched.starts_with("3 results fetched"), "{fetched}");
    assert!(fetched.contains("1 already here; 2 not in the remote"), "{fetched}");
    b.emopipe(&["run"]).ok();
    assert_eq!(log(&b), ["big", "sum"]);
    let unknown = b.emopipe(&["pull", "cuont"]).fails(1).stderr();
    assert!(unknown.contains("did you mean `count`?"), "{unknown}");
}

#[test]
fn settings_come_from_the_pipeline_first_and_then_from_the_user() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = Project::new(PIPELINE);
    a.write("words.txt", "Abracadabra\n");
    let nothing = a.emopipe(&["push"]).fails(1).stderr();
    assert!(nothing.contains("no remote store is named") && nothing.contains("[remote]"), "{nothing}");
    a.write(".config/emopipe/config.toml", &format!("[remote]\nurl = {:?}\n", theirs.path()));
    a.emopipe(&["run", "--until", "words"]).ok();
    assert_eq!(assert_sound(&files_below(theirs.path())), 1);
    a.write("pipeline.toml", &format!("{PIPELINE}\n[remote]\nurl = {:?}", ours.path()));
    a.emopipe(&["push", "words"]).ok();
    assert_eq!(assert_sound(&files_below(ours.path())), 1);
    a.write(".config/emopipe/config.toml", "[remote]\npusch = false\n");
    let text = a.emopipe(&["run"]).fails(2).stderr();
    assert!(text.contains("did you mean `push`?") && text.contains("config.toml:2"), "{text}");
}

#[test]
fn what_is_damaged_in_the_remote_is_computed_and_mended() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("flipped", |p| fs::write(p, "6\n").unwrap()),
        ("cut", |p| fs::write(p, "").unwrap()),
        ("gone", |p| fs::remove_file(p).unwrap()),
        ("nonsense", |p| fs::write(p, "x".repeat(10_000)).unwrap()),
    ];
    let folder = tempfile::tempdir().unwrap();
    let a = sharing(folder.path());
    a.emopipe(&["run"]).ok();
    for (what, harm) in harms {
        // The blob of `count[letter=a]` alone.
        harm(&blob_of(folder.path(), b"5\n"));
        let b = sharing(folder.path());
        let text = b.emopipe(&["run"]).ok().stderr();
        assert_eq!(log(&b), ["count-a"], "{what}: {text}");
        assert!(text.contains("remote count[letter=a]: the remote's result is damaged: blob"), "{what}: {text}");
        assert_eq!(b.read("reports/sum.txt"), SUM);
        assert_eq!(assert_sound(&files_below(folder.path())), 6, "{what} was mended");
        let c = sharing(folder.path());
        let ran = c.emopipe(&["run"]);
        assert_shared(&a, &c, ran);
    }
    let hand = sharing(folder.path());
    fs::write(blob_of(folder.path(), b"5\n"), "7\n").unwrap();
    let text = hand.emopipe(&["pull"]).fails(1).stderr();
    assert!(text.contains("count[letter=a]") && text.contains("computes it anew"), "{text}");
}

#[test]
fn a_remote_that_is_not_there_stops_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let a = sharing(&folder.path().join("not-mounted"));
    let text = a.emopipe(&["run"]).ok().stderr();
    assert_eq!(log(&a), ALL);
    assert!(text.contains("isn't there") && text.contains("mount"), "{text}");
    assert!(text.contains("6 results weren't sent to the remote; the next run"), "{text}");
    assert!(a.emopipe(&["push"]).fails(1).stderr().contains("isn't there"));
    assert!(!folder.path().join("not-mounted").exists(), "no folder is made up");
    fs::create_dir(folder.path().join("not-mounted")).unwrap();
    let text = a.emopipe(&["run"]).ok().stderr();
    assert!(text.contains("nothing to do") && text.contains("6 results sent to the remote"), "{text}");
    assert!(!a.emopipe(&["run"]).ok().stderr().contains("sent"), "once is enough");
    assert_eq!(assert_sound(&files_below(folder.path())), 6);
}

/// `kill -9` of writers at seeded moments: nothing half-done is visible, and the next run completes the remote.
#[test]
fn a_killed_writer_leaves_nothing_visible() {
    let folder = tempfile::tempdir().unwrap();
    let kills = 12;
    let mut cut_short = 0;
    for n in 0..kills {
        let shared = folder.path().join(n.to_string());
        fs::create_dir(&shared).unwrap();
        let a = sharing(&shared);
        let mut child = a.command(&["run", "pipeline.toml"]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(30 + 80 * n));
        child.kill().unwrap();
        child.wait().unwrap();
        cut_short += usize::from(assert_sound(&files_below(&shared)) < 6);
        a.emopipe(&["run"]).ok();
        assert_eq!(assert_sound(&files_below(&shared)), 6);
        log(&a);
        let b = sharing(&shared);
        let ran = b.emopipe(&["run"]);
        assert_shared(&a, &b, ran);
    }
    assert!(cut_short > 0);
    println!("{kills} kills, {cut_short} of them before all was sent");
}

#[test]
fn several_machines_share_a_folder_without_locks() {
    let folder = tempfile::tempdir().unwrap();
    let machines: Vec<Project> = (0..3).map(|_| sharing(folder.path())).collect();
    let mut children: Vec<_> =
        machines.iter().map(|m| m.command(&["run", "pipeline.toml"]).stderr(Stdio::null()).spawn().unwrap()).collect();
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(assert_sound(&files_below(folder.path())), 6);
    for machine in &machines {
        assert_eq!(machine.read("reports/sum.txt"), SUM);
    }
}

#[test]
fn credentials_in_files_are_refused_and_not_shown() {
    for remote in [
        format!("url = \"s3://bucket\"\nsecret_access_key = \"{CANARY}\""),
        format!("url = \"s3://key:{CANARY}@bucket/prefix\""),
        format!("url = \"az://container?sig={CANARY}\""),
    ] {
        let a = machine(&remote);
        let text = a.emopipe(&["run"]).fails(2).stderr();
        assert!(text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains(CANARY), "{text}");
        assert!(!a.path("cache").exists());
    }
    let a = machine("url = \"s3://bucket\"");
    let text = a.emopipe(&["plan", "--set", &format!("remote.token={CANARY}")]).fails(2).stderr();
    assert!(!text.contains(CANARY), "{text}");
}

/// `None`, loudly, where there is no S3 server to test against.
fn moto(test: &str) -> Option<Arc<Server>> {
    let server = s3::server();
    if server.is_none() {
        // Past the test harness, which keeps what a passing test prints to itself.
        let remedy = "install PyPI's `moto[server]` and put moto_server on PATH, or set EMOPIPE_MOTO to it";
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {remedy}");
    }
    server
}

/// A machine whose remote is a bucket behind a proxy. Requests that get no answer are repeated after a second.
fn cloud(proxy: &Proxy, bucket: &str) -> Project {
    machine(&format!(
        "url = \"s3://{bucket}/team/x\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\ntimeout = 1",
        proxy.url
    ))
}

fn with_credentials(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", CANARY);
    command
}

fn signed(project: &Project, arguments: &[&str]) -> Ran {
    let mut all = vec![arguments[0], "pipeline.toml"];
    all.extend(&arguments[1..]);
    Ran(with_credentials(project.command(&all)).output().unwrap())
}

#[test]
fn s3_survives_timeouts_errors_throttling_and_cut_answers() {
    let Some(server) = moto("s3_survives_timeouts_errors_throttling_and_cut_answers") else { return };
    server.bucket("faults");
    // Every third request meets one of these; what is tried again then succeeds.
    let proxy = Proxy::new(&server, |request, n| match (n % 3, n / 3 % 6) {
        (1, 0) => Fault::Status("503 Slow Down"),
        (1, 1) => Fault::Status("500 Internal Server Error"),
        (1, 2) => Fault::Status("429 Too Many Requests"),
        (1, 3) => Fault::Hang(Duration::from_secs(3)),
        (1, 4) => Fault::Close,
        (1, 5) if request.method == "GET" => Fault::Cut,
        _ => Fault::None,
    });
    let a = cloud(&proxy, "faults");
    let text = signed(&a, &["run"]).ok().stderr();
    assert_eq!(log(&a), ALL);
    assert!(text.contains("6 results sent to the remote"), "{text}");
    let (requests, faults) = (proxy.requests(), proxy.faults());
    assert_eq!(assert_sound(&server.objects("faults")), 6);
    let b = cloud(&proxy, "faults");
    let ran = signed(&b, &["run"]);
    assert_shared(&a, &b, ran);
    println!(
        "{faults} faults in {requests} requests when sending, {} in {} when fetching",
        proxy.faults() - faults,
        proxy.requests() - requests
    );
    assert!(faults >= 6 && proxy.faults() > faults);
    let parts = server.objects("faults").iter().filter(|(_, bytes)| bytes.len() > 16 << 20).count();
    assert_eq!(parts, 1, "the big file went in parts");
}

#[test]
fn s3_wrong_bytes_never_enter_the_store() {
    let Some(server) = moto("s3_wrong_bytes_never_enter_the_store") else { return };
    server.bucket("wrong");
    let honest = Proxy::new(&server, |_, _| Fault::None);
    let a = cloud(&honest, "wrong");
    signed(&a, &["run"]).ok();
    log(&a);
    for what in ["/blobs/", "/results/"] {
        let liar =
            Proxy::new(&server, move |request, _| match request.method == "GET" && request.path.contains(what) {
                true => Fault::WrongByte,
                false => Fault::None,
            });
        let b = cloud(&liar, "wrong");
        let text = signed(&b, &["run"]).ok().stderr();
        assert_eq!(log(&b), ALL, "{text}");
        assert!(text.contains("the remote's result is damaged"), "{text}");
        assert_eq!(artifacts(&a), artifacts(&b));
        assert_sound(
            &files_below(&b.path("cache/blobs"))
                .into_iter()
                .map(|(n, b)| (format!("blobs/{n}"), b))
                .collect::<Vec<_>>(),
        );
        assert_eq!(assert_sound(&server.objects("wrong")), 6);
    }
}

#[test]
fn s3_a_killed_writer_leaves_nothing_visible() {
    let Some(server) = moto("s3_a_killed_writer_leaves_nothing_visible") else { return };
    server.bucket("kills");
    let proxy = Proxy::new(&server, |request, _| match request.path.contains("partNumber=") {
        true => Fault::Slow(Duration::from_millis(200)),
        false => Fault::None,
    });
    let a = cloud(&proxy, "kills");
    let (kills, mut cut_short) = (8, 0);
    for n in 0..kills {
        let before = proxy.requests();
        let mut child = with_credentials(a.command(&["run", "pipeline.toml"])).stderr(Stdio::null()).spawn().unwrap();
        // In the middle of what it sends, a little further each time.
        wait_for(|| proxy.requests() > before + 2 * n || child.try_wait().unwrap().is_some());
        let _ = child.kill();
        child.wait().unwrap();
        cut_short += usize::from(assert_sound(&server.objects("kills")) < 6);
    }
    signed(&a, &["run"]).ok();
    assert_eq!(assert_sound(&server.objects("kills")), 6);
    let b = cloud(&proxy, "kills");
    let ran = signed(&b, &["run"]);
    assert_shared(&a, &b, ran);
    assert!(cut_short > 3, "{cut_short}");
    println!("{kills} kills, {cut_short} of them before all was sent");
}

#[test]
fn s3_ctrl_c_ends_transfers_and_the_next_run_goes_on() {
    let Some(server) = moto("s3_ctrl_c_ends_transfers_and_the_next_run_goes_on") else { return };
    server.bucket("stops");
    let slow = Proxy::new(&server, |request, _| match request.path.contains("partNumber=") {
        true => Fault::Hang(Duration::from_secs(120)),
        false => Fault::None,
    });
    let mut a = cloud(&slow, "stops");
    let text = a.read("pipeline.toml").replace("timeout = 1", "timeout = 100");
    a.write("pipeline.toml", &text);
    let mut command = with_credentials(a.command(&["run", "pipeline.toml"]));
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_for(|| slow.faults() > 0 && fs::read_to_string(a.path("ran.log")).unwrap_or_default().contains("sum"));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = Ran(child.wait_with_output().unwrap()).fails(130);
    assert!(ran.stderr().contains("weren't sent to the remote; the next run"), "{}", ran.stderr());
    assert!(assert_sound(&server.objects("stops")) < 6);

    let fast = Proxy::new(&server, |_, _| Fault::None);
    let text = text.replace(&slow.url, &fast.url);
    a.write("pipeline.toml", &text);
    signed(&a, &["run"]).ok();
    assert_eq!(assert_sound(&server.objects("stops")), 6);
    a = cloud(&fast, "stops");
    signed(&a, &["run"]).ok();
    assert!(log(&a).is_empty());
}

#[test]
fn s3_a_result_is_written_once() {
    let Some(server) = moto("s3_a_result_is_written_once") else { return };
    server.bucket("once");
    let proxy = Proxy::new(&server, |_, _| Fault::None);
    let pipeline = |p: &Project| {
        let text = p.read("pipeline.toml");
        // The same key, other bytes: what the clock says is no parameter.
        p.write("pipeline.toml", &text.replace("tr 'A-Z' 'a-z' < words.txt >", "date +%s%N >"));
    };
    let (a, b) = (cloud(&proxy, "once"), cloud(&proxy, "once"));
    pipeline(&a);
    pipeline(&b);
    signed(&a, &["run", "--until", "words"]).ok();
    let before = server.objects("once");
    let text = signed(&b, &["run", "--until", "words", "--force", "words"]).ok().stderr();
    assert!(text.contains("the remote has another result for the same inputs and parameters"), "{text}");
    let results = |objects: &[(String, Vec<u8>)]| -> Vec<_> {
        objects.iter().filter(|(n, _)| n.contains("results/")).cloned().collect()
    };
    assert_eq!(results(&before), results(&server.objects("once")));
    signed(&b, &["push", "--force", "words"]).ok();
    assert_ne!(results(&before), results(&server.objects("once")));
}

#[test]
fn s3_a_dead_server_stops_no_run() {
    let folder = tempfile::tempdir().unwrap();
    // A port that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let a = machine(&format!("url = \"s3://bucket\"\nendpoint = \"http://127.0.0.1:{port}\"\ntimeout = 1"));
    let text = signed(&a, &["run"]).ok().stderr();
    assert_eq!(log(&a), ALL);
    assert!(text.contains("weren't sent to the remote"), "{text}");
    assert!(text.contains("check the network"), "{text}");
    assert!(!text.contains(CANARY));
    let plain = machine("url = \"s3://bucket\"\nendpoint = \"http://s3.example.org\"");
    let text = signed(&plain, &["push"]).ok().stdout();
    assert!(text.starts_with("0 results sent"), "{text}");
    signed(&plain, &["run", "--until", "words", "--offline"]).ok();
    let text = signed(&plain, &["push"]).fails(1).stderr();
    assert!(text.contains("unprotected") && text.contains("https://"), "{text}");
    drop(folder);
}

#[test]
fn azure_and_google_storage_take_and_give_results() {
    // The first is base64, as Azure's keys are; the other is a service account of an emulator.
    let key = "Y2FuYXJ5LTlmM2E3Yy1zZWNyZXQ=";
    let account =
        r#"{"disable_oauth":true,"client_email":"","private_key":"Y2FuYXJ5LTlmM2E3Yy1zZWNyZXQ=","private_key_id":""}"#;
    let services: [(&str, &[(&str, &str)]); 2] = [
        ("az", &[("AZURE_STORAGE_ACCOUNT_NAME", "account"), ("AZURE_STORAGE_ACCOUNT_KEY", key)]),
        ("gs", &[("GOOGLE_SERVICE_ACCOUNT_KEY", account)]),
    ];
    for (scheme, variables) in services {
        let memory = memory::Memory::new();
        let new = || machine(&format!("url = \"{scheme}://box/team\"\nendpoint = \"{}\"", memory.url));
        let run = |project: &Project| {
            let mut command = project.command(&["run", "pipeline.toml", "--until", "count"]);
            Ran(command.envs(variables.iter().copied()).output().unwrap()).ok().stderr()
        };
        let (a, b) = (new(), new());
        let text = run(&a);
        assert!(text.contains("4 results sent"), "{scheme}: {text}");
        assert_eq!(assert_sound(&memory.objects()), 4, "{scheme}");
        let text = run(&b);
        assert!(text.contains("4 of them from the remote") && log(&b).is_empty(), "{scheme}: {text}");
        assert_eq!(artifacts(&a), artifacts(&b));
        for (name, bytes) in files_below(a.root()) {
            assert!(!contains(&bytes, key.as_bytes()), "{name} holds the key");
        }
    }
}

#[test]
fn s3_secrets_go_nowhere() {
    let Some(server) = moto("s3_secrets_go_nowhere") else { return };
    server.bucket("secrets");
    let proxy = Proxy::new(&server, |request, _| match request.path.contains("/results/") && request.method == "PUT" {
        true => Fault::Status("403 Forbidden"),
        false => Fault::None,
    });
    let a = cloud(&proxy, "secrets");
    // What a command sees of its own environment, and of that of the worker above its supervisor, becomes an artifact.
    let text = a.read("pipeline.toml").replace(
        "echo words >> ran.log; tr 'A-Z' 'a-z' < words.txt >",
        "W=$(cut -d' ' -f4 /proc/$PPID/stat); cat /proc/$$/environ /proc/$W/environ /proc/$W/cmdline words.txt >",
    );
    a.write("pipeline.toml", &text);
    let ran = signed(&a, &["run", "--until", "words"]).ok();
    assert!(ran.stderr().contains("check the credentials"), "{}", ran.stderr());
    let logged = with_credentials(a.command(&["run", "pipeline.toml", "-vvv", "--until", "words"])).output().unwrap();
    let pushed = with_credentials(a.command(&["push", "pipeline.toml", "-vvv"])).output().unwrap();
    let mut everything = files_below(a.root());
    for (name, output) in [("run", ran.0), ("logged", logged), ("pushed", pushed)] {
        everything.push((name.to_owned(), output.stdout));
        everything.push((name.to_owned(), output.stderr));
    }
    everything.extend(server.objects("secrets"));
    let seen = |bytes: &[u8]| contains(bytes, b"\0worker\0") && contains(bytes, b"\0PATH=");
    assert!(everything.iter().any(|(_, bytes)| seen(bytes)), "the worker's environment was looked at");
    for (name, bytes) in &everything {
        assert!(!contains(bytes, CANARY.as_bytes()), "{name} holds the secret");
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}
