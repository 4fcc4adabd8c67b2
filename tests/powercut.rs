//! What a power failure leaves. The order of system calls is recorded with `strace`, and every prefix is replayed on two kinds of
//! filesystem: one that keeps names and loses contents that weren't synced, and one that keeps only names whose folder was
//! synced. Where root allows, a real ext4 on a loop device is shut down under a run.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use common::Project;
use emopipe::store::Store;

const PIPELINE: &str = r#"
[pipeline]
name = "p"
[stages.one]
kind = "exec"
matrix = { n = [1, 2, 3] }
command = ["sh", "-c", "echo ${n} > $0/x; mkdir $0/sub; echo two > $0/sub/y", "{out}"]
outputs = ["x", "sub/y"]
[stages.sum]
kind = "exec"
inputs = { all = "one" }
command = ["sh", "-c", "cat $0/*/x > $1/sum; echo END > $1/end", "{all}", "{out}"]
outputs = ["sum", "end"]
export = "deep/out"
"#;

/// One change of a filesystem, or one sync.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Create {
        path: PathBuf,
    },
    Folder {
        path: PathBuf,
    },
    /// So many bytes at the end of a file.
    Write {
        path: PathBuf,
        bytes: usize,
    },
    Cut {
        path: PathBuf,
        to: usize,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    Sync {
        path: PathBuf,
    },
}

/// Runs a command of emopipe and returns the steps below `root`; none where there is no `strace`.
fn record(project: &Project, arguments: &[&str]) -> Option<Vec<Step>> {
    let log = project.path("strace.log");
    let calls = "open,openat,creat,write,pwrite64,writev,copy_file_range,sendfile,ftruncate,fsync,fdatasync,rename,renameat,renameat2,\
                 link,linkat,mkdir,mkdirat,unlink,unlinkat,rmdir";
    let plain = project.command(arguments);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-s", "0", "-e", &format!("trace={calls}"), "-o"]).arg(&log);
    command.arg(plain.get_program()).args(plain.get_args()).current_dir(project.root());
    command.env("XDG_CONFIG_HOME", project.path(".config")).env_remove("EMOPIPE_STORE").env("EMOPIPE_MEMO", "off");
    let ran = match command.output() {
        Ok(ran) if ran.status.success() => ran,
        other => {
            let version = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
            assert!(!version.is_ok_and(|s| s.success()), "{other:?}");
            eprintln!("SKIPPED: no `strace`, or no right to use it");
            return None;
        }
    };
    drop(ran);
    Some(steps(&fs::read_to_string(log).unwrap(), &project.root().canonicalize().unwrap()))
}

/// What a log of `strace -f -y` says happened below `root`, in the order in which calls returned. Folders count from where their
/// call began: others find them, and go on, before the tracer gets round to writing that it returned.
fn steps(log: &str, root: &Path) -> Vec<Step> {
    let mut begun: HashMap<&str, (&str, usize)> = HashMap::new();
    let mut steps: Vec<Vec<Step>> = Vec::new();
    for line in log.lines() {
        let Some((process, call)) = line.trim_start().split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(first) = call.strip_suffix("<unfinished ...>") {
            begun.insert(process, (first.trim_end(), steps.len()));
            steps.push(Vec::new());
        } else if let Some((_, rest)) = call.strip_prefix("<... ").and_then(|c| c.split_once("resumed>")) {
            let Some((first, place)) = begun.remove(process) else { continue };
            let done = step(&format!("{first}{rest}"), root);
            if first.starts_with("mkdir") { steps[place] = done } else { steps.push(done) }
        } else {
            steps.push(step(call, root));
        }
    }
    steps.concat()
}

fn step(call: &str, root: &Path) -> Vec<Step> {
    let Some((name, rest)) = call.split_once('(') else { return Vec::new() };
    let Some((arguments, answer)) = rest.rsplit_once("= ") else { return Vec::new() };
    let arguments = arguments.trim_end().trim_end_matches(')');
    if answer.starts_with('-') {
        return Vec::new();
    }
    let ours = |path: &str| {
        let path = root.join(path.trim_end_matches("/."));
        path.starts_with(root).then_some(path)
    };
    // `3</path>`, the first one.
    let open = |text: &str| ours(text.split_once('<')?.1.split_once('>')?.0);
    // Quoted paths, each relative to the folder named before it.
    let named = || -> Vec<PathBuf> {
        let mut folder = root.to_owned();
        let mut found = Vec::new();
        for part in arguments.split(", ").map(str::trim) {
            if let Some(text) = part.strip_prefix('"') {
                found.push(folder.join(text.trim_end_matches('"')));
            } else if let Some((_, path)) = part.split_once('<') {
                folder = path.trim_end_matches('>').into();
            }
        }
        found
    };
    let bytes = || answer.split_whitespace().next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
    let inside = |paths: Vec<PathBuf>| paths.into_iter().filter(|path| path.starts_with(root)).collect::<Vec<_>>();
    match name {
        "open" | "openat" | "creat" if name == "creat" || arguments.contains("O_CREAT") => {
            let path = open(answer);
            let cut = arguments.contains("O_TRUNC").then(|| path.clone().map(|path| Step::Cut { path, to: 0 }));
            path.map(|path| Step::Create { path }).into_iter().chain(cut.flatten()).collect()
        }
        "write" | "pwrite64" | "writev" => {
            open(arguments).map(|path| Step::Write { path, bytes: bytes() }).into_iter().collect()
        }
        "copy_file_range" | "sendfile" => {
            let to = if name == "sendfile" { arguments } else { arguments.splitn(3, ", ").nth(2).unwrap_or_default() };
            open(to).map(|path| Step::Write { path, bytes: bytes() }).into_iter().collect()
        }
        "ftruncate" => {
            let to = arguments.rsplit(", ").next().and_then(|n| n.parse().ok()).unwrap_or(0);
            open(arguments).map(|path| Step::Cut { path, to }).into_iter().collect()
        }
        "fsync" | "fdatasync" => open(arguments).map(|path| Step::Sync { path }).into_iter().collect(),
        "rename" | "renameat" | "renameat2" => match &inside(named())[..] {
            [from, to] => vec![Step::Rename { from: from.clone(), to: to.clone() }],
            _ => Vec::new(),
        },
        "mkdir" | "mkdirat" => inside(named()).into_iter().map(|path| Step::Folder { path }).collect(),
        "unlink" | "unlinkat" | "rmdir" => inside(named()).into_iter().map(|path| Step::Remove { path }).collect(),
        _ => Vec::new(),
    }
}

/// What can be found after a power failure: folders, and files by their nodes with their lengths.
type State = BTreeMap<PathBuf, Option<(usize, usize)>>;

/// A file or a folder, whatever it is called.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    folder: bool,
    bytes: usize,
    synced: usize,
}

/// A filesystem that remembers what is on disk.
#[derive(Debug, Default)]
struct Disk {
    nodes: Vec<Node>,
    /// Names as processes see them, and those that are on disk.
    names: BTreeMap<PathBuf, usize>,
    kept: BTreeMap<PathBuf, usize>,
}

impl Disk {
    /// With what is in a folder already, all of it on disk.
    fn of(root: &Path) -> Self {
        let mut disk = Self::default();
        let mut open = vec![root.to_owned()];
        while let Some(path) = open.pop() {
            let meta = fs::metadata(&path).unwrap();
            let bytes = if meta.is_dir() { 0 } else { meta.len() as usize };
            disk.add(path.clone(), Node { folder: meta.is_dir(), bytes, synced: bytes });
            if meta.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            }
        }
        disk.kept = disk.names.clone();
        disk
    }

    fn add(&mut self, path: PathBuf, node: Node) {
        self.names.insert(path, self.nodes.len());
        self.nodes.push(node);
    }

    fn node(&mut self, path: &Path) -> Option<&mut Node> {
        self.names.get(path).map(|i| &mut self.nodes[*i])
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Create { path } if !self.names.contains_key(path) => self.add(path.clone(), Node::default()),
            Step::Create { .. } => {}
            Step::Folder { path } => self.add(path.clone(), Node { folder: true, ..Node::default() }),
            Step::Write { path, bytes } => {
                if let Some(node) = self.node(path) {
                    node.bytes += bytes;
                }
            }
            Step::Cut { path, to } => {
                if let Some(node) = self.node(path) {
                    node.bytes = *to;
                    node.synced = node.synced.min(*to);
                }
            }
            Step::Rename { from, to } => {
                let moved: Vec<PathBuf> = self.names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in moved {
                    if let Some(node) = self.names.remove(&path) {
                        let rest = path.strip_prefix(from).unwrap();
                        self.names.insert(if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) }, node);
                    }
                }
            }
            Step::Remove { path } => drop(self.names.remove(path)),
            Step::Sync { path } => {
                let Some(node) = self.node(path) else { return };
                node.synced = node.bytes;
                if node.folder {
                    let child = |p: &Path| p.parent() == Some(path);
                    self.kept.retain(|p, _| !child(p));
                    self.kept.extend(self.names.iter().filter(|(p, _)| child(p)).map(|(p, i)| (p.clone(), *i)));
                }
            }
        }
    }

    /// The files after a power failure, with their lengths. `strict`: names are lost, too.
    fn after_a_cut(&self, strict: bool, root: &Path) -> State {
        let names = if strict { &self.kept } else { &self.names };
        let reachable = |path: &&PathBuf| path.ancestors().take_while(|p| *p != root).all(|p| names.contains_key(p));
        let state = |i: usize| (!self.nodes[i].folder).then(|| (i, self.nodes[i].synced));
        names.keys().filter(reachable).map(|path| (path.clone(), state(names[path]))).collect()
    }
}

/// All distinct states that a power failure can leave while these steps are taken.
fn cuts(before: Disk, steps: &[Step], root: &Path) -> Vec<State> {
    let mut disk = before;
    let mut seen = BTreeSet::new();
    let mut states = Vec::new();
    for i in 0..=steps.len() {
        for strict in [false, true] {
            let state = disk.after_a_cut(strict, root);
            // Staging areas don't matter.
            let telling: Vec<_> = state.iter().filter(|(path, _)| !path.starts_with(root.join("cache/tmp"))).collect();
            if seen.insert(format!("{telling:?}")) {
                states.push(state);
            }
        }
        steps.get(i).into_iter().for_each(|step| disk.take(step));
    }
    states
}

/// What each file finally holds, by its node. A file only ever grows; one that was replaced held the same as what it is
/// replaced with, since blobs are called by their content.
fn contents(before: &Disk, steps: &[Step]) -> HashMap<usize, Vec<u8>> {
    let mut disk = Disk { nodes: before.nodes.clone(), names: before.names.clone(), kept: BTreeMap::new() };
    let mut last: HashMap<usize, PathBuf> = HashMap::new();
    for step in steps {
        disk.take(step);
        last.extend(disk.names.iter().map(|(path, node)| (*node, path.clone())));
    }
    last.into_iter().filter_map(|(node, path)| Some((node, fs::read(path).ok()?))).collect()
}

/// Lays a state out in a folder.
fn lay_out(state: &State, contents: &HashMap<usize, Vec<u8>>, root: &Path, to: &Path) {
    for (path, file) in state {
        let place = to.join(path.strip_prefix(root).unwrap());
        match file {
            None => fs::create_dir_all(&place).unwrap(),
            Some((node, bytes)) => {
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                let mut content = contents.get(node).cloned().unwrap_or_default();
                content.resize(*bytes, 0);
                fs::write(place, content).unwrap();
            }
        }
    }
}

fn whole(store: &Store) -> usize {
    let audit = store.audit(&emopipe::engine::key::describes, &|_, _| {}).unwrap();
    assert_eq!(audit.damage, []);
    for (key, _) in store.results() {
        assert!(store.lookup(&key).is_some() && store.preimage(&key).is_some());
    }
    audit.results
}

#[test]
fn whatever_a_power_failure_leaves_every_result_is_whole() {
    let project = Project::new(PIPELINE);
    let root = project.root().canonicalize().unwrap();
    let before = Disk::of(&root);
    let Some(steps) = record(&project, &["run", "pipeline.toml"]) else { return };
    assert!(steps.iter().filter(|s| matches!(s, Step::Sync { .. })).count() > 30, "{}", steps.len());
    let contents = contents(&before, &steps);
    let states = cuts(before, &steps, &root);
    let mut most = 0;
    for (i, state) in states.iter().enumerate() {
        let copy = Project::new("");
        lay_out(state, &contents, &root, copy.root());
        for file in ["sum", "end"] {
            let path = copy.path("deep/out").join(file);
            if path.exists() {
                assert_eq!(fs::read(&path).unwrap(), fs::read(root.join("deep/out").join(file)).unwrap(), "state {i}");
            }
        }
        let found = whole(&Store::open_to_read(&copy.path("cache")).unwrap());
        most = most.max(found);
        // A whole run for each would take long and show little more.
        if i % 40 == 0 || i + 1 == states.len() {
            copy.emopipe(&["run"]).ok();
            assert_eq!(copy.read("deep/out/sum"), "1\n2\n3\n", "state {i}");
            assert_eq!(whole(&Store::open_to_read(&copy.path("cache")).unwrap()), 4);
        }
    }
    assert_eq!(most, 4, "what was shown is on disk");
    let last = Project::new("");
    lay_out(states.last().unwrap(), &contents, &root, last.root());
    assert_eq!(last.read("deep/out/sum"), "1\n2\n3\n", "and so is what was exported");
    println!("{} states after {} steps", states.len(), steps.len());
}

/// Files of the user are the old ones or the new ones.
#[test]
fn pins_and_lock_files_are_old_or_new() {
    let project = Project::new(
        "[dataset.d]\ntitle = 'D'\nlanguage = 'x'\nconstruct = 'emotion'\nlicense = 'x'\nread = { format = 'delimited' }\n\
         fields = { text = 'text', label = 'label' }\nsplit = { train = 0.5, test = 0.5 }\nsource.'d.csv' = { url = 'file:d.csv' }\n[dataset.d.schemes.s]\nlabels = ['a', 'b']\n\
         [stages.raw]\nkind = 'download'\nfrom = 'dataset.d'\nexport = 'out'\n",
    );
    project.write("d.csv", "text,label\nx,a\n");
    for (command, file) in [("pin", "pipeline.toml"), ("lock", "pipeline.lock"), ("lock", "pipeline.lock")] {
        if command == "lock" {
            project.write("d.csv", &format!("{}y,b\n", project.read("d.csv")));
            let unpinned: Vec<String> = project.read("pipeline.toml").split(", blake3 = ").map(str::to_owned).collect();
            let end = unpinned.get(1).map_or("", |rest| rest.split_once('"').unwrap().1.split_once('"').unwrap().1);
            project.write("pipeline.toml", &format!("{}{end}", unpinned[0]));
            project.emopipe(&["pin"]).ok();
            project.emopipe(&["run"]).ok();
        }
        let root = project.root().canonicalize().unwrap();
        let before = Disk::of(&root);
        let old = fs::read(root.join(file)).ok();
        let old_node = before.names.get(&root.join(file)).copied();
        let Some(steps) = record(&project, &[command, "pipeline.toml"]) else { return };
        let new = fs::read(root.join(file)).unwrap();
        assert_ne!(old.as_ref(), Some(&new), "{command} wrote {file}");
        let mut contents = contents(&before, &steps);
        contents.extend(old_node.zip(old.clone()));
        let states = cuts(before, &steps, &root);
        let found = |state: &State| {
            let (node, bytes) = state.get(&root.join(file)).copied().flatten()?;
            let mut content = contents.get(&node).cloned().unwrap_or_default();
            content.resize(bytes, 0);
            Some(content)
        };
        for state in &states {
            let found = found(state);
            assert!(found == old || found.as_ref() == Some(&new), "{command}: {found:?}");
        }
        assert_eq!(found(states.last().unwrap()), Some(new), "{command}");
    }
}

/// A loop device with ext4, unmounted when dropped.
struct Loop {
    dir: tempfile::TempDir,
}

impl Loop {
    fn new() -> Option<Self> {
        let device = Self { dir: tempfile::tempdir().unwrap() };
        fs::File::create(device.image()).unwrap().set_len(48 << 20).unwrap();
        fs::create_dir(device.folder()).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(device.image()).status().is_ok_and(|s| s.success());
        (made && device.mount() && device.shutdown() && device.unmount() && device.mount()).then_some(device)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn mount(&self) -> bool {
        let mut command = Command::new("mount");
        command.args(["-o", "loop"]).arg(self.image()).arg(self.folder()).stderr(Stdio::null());
        command.status().is_ok_and(|s| s.success())
    }

    fn unmount(&self) -> bool {
        // Whoever was killed a moment ago may still be on its way out.
        (0..50).any(|_| {
            let gone =
                Command::new("umount").arg(self.folder()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
            gone || {
                std::thread::sleep(Duration::from_millis(100));
                false
            }
        })
    }

    /// Cuts the power: from now on nothing reaches the disk, and the journal isn't written out.
    fn shutdown(&self) -> bool {
        let script = "import fcntl, os, struct, sys\n\
                      fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        Command::new("python3").args(["-c", script]).arg(self.folder()).status().is_ok_and(|s| s.success())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.unmount();
    }
}

#[test]
fn real_cuts_of_a_real_filesystem_lose_nothing_that_was_shown() {
    let Some(disk) = Loop::new() else {
        eprintln!(
            "SKIPPED real_cuts_of_a_real_filesystem: no right to mount a loop device, or no mkfs.ext4 or python3"
        );
        return;
    };
    let text = PIPELINE.replace("[1, 2, 3]", &format!("{:?}", (0..40).collect::<Vec<_>>()));
    let tools = Project::new("");
    let command = |arguments: &[&str]| {
        let mut command = tools.command(arguments);
        command.current_dir(disk.folder());
        command
    };
    let mut found = Vec::new();
    for cut in 0..8_u64 {
        fs::write(disk.folder().join("p.toml"), &text).unwrap();
        Command::new("sync").status().unwrap();
        let mut run = command(&["run", "p.toml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(50 + 170 * cut));
        assert!(disk.shutdown());
        let _ = run.kill();
        run.wait().unwrap();
        assert!(disk.unmount() && disk.mount());
        if disk.folder().join("cache").exists() {
            let checked = command(&["verify"]).output().unwrap();
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
            found.push(Store::open_to_read(&disk.folder().join("cache")).unwrap().len());
        }
    }
    assert!(found.is_sorted(), "{found:?}");
    fs::write(disk.folder().join("p.toml"), &text).unwrap();
    let last = command(&["run", "p.toml"]).output().unwrap();
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    assert_eq!(fs::read_to_string(disk.folder().join("deep/out/sum")).unwrap().lines().count(), 40);
    println!("results after each cut: {found:?}");
}
