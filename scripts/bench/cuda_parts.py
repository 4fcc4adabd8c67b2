"""The parts of scripts/bench/cuda.py: what is run, for how long, and what its output says."""
import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EMOPIPE = ROOT / "bin" / "emopipe"
TESTS = ROOT / "bin" / "tests"
CACHE = ROOT / "cuda-cache"

LINES, LOG, PACKED_CACHE = "results.jsonl", "log.txt", "cuda-cache.tar.xz"
MOST_CACHE = 15 << 20
# A process is told to begin nothing more this long before it is ended.
NOTICE = 15
PROFILED_LAYERS = 4
MOST_RUNS = 4
# How much longer the parts of a rehearsal may take, where the CPU stands in for the GPU.
SLOWER = 8

MODEL = ["--model", "chatglm2-6b", "--dtype", "bf16"]
WORK = ["--workload", "sst=benches/workloads/sst.json", "--workload", "long=benches/workloads/long.json", "--batch", "16", "--steps", "10"]
TINY_MODEL = ["--model", "benches/rehearsal/shape.json", "--dtype", "bf16"]
TINY_WORK = ["--workload", "sst=benches/rehearsal/sst.json", "--workload", "long=benches/rehearsal/long.json", "--batch", "4", "--steps", "2"]
TINY_SUITE = ["--rows", "8,24", "--size", "32", "--virtual-tokens", "4"]

TRAININGS = [f"train-{lengths}-{method}" for lengths in ("sst", "long") for method in ("lora", "prefix")]
PROFILED = ["profile-sst-lora", "profile-sst-prefix"]

# title, executable, what the environment adds
PARITY = [
    ("decoders against PyTorch and PEFT, f32", "parity", {}),
    ("decoders against PyTorch and PEFT, bf16", "parity", {"EMOPIPE_DTYPE": "bf16"}),
    ("encoders against PyTorch and PEFT, f32", "parity_encoder", {}),
    ("encoders against PyTorch and PEFT, bf16", "parity_encoder", {"EMOPIPE_DTYPE": "bf16"}),
]
KERNELS = "kernels against the CPU, forward and backward"


class Results:
    """The lines of a folder, on disk as soon as they are known."""

    def __init__(self, folder, known):
        self.path, self.lines = folder / LINES, []
        self.path.write_text("")
        for line in known:
            self.add(line)

    @staticmethod
    def read(folder):
        path = folder / LINES
        lines = []
        for text in path.read_text().splitlines() if path.exists() else []:
            try:
                lines.append(json.loads(text))
            except ValueError:  # cut off where the call was
                pass
        return lines

    def add(self, line):
        self.lines.append(line)
        with self.path.open("a") as out:
            print(json.dumps(line), file=out, flush=True)
            os.fsync(out.fileno())


def card():
    """The name and memory of the GPU that is measured, the first of those that are shown, and its driver; None where nothing tells."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=30).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return None, None
    name, comma, driver = told[0].rpartition(", ") if told else ("", "", "")
    return (name, driver.strip()) if comma else (None, None)


class Session:
    def __init__(self, args, begun):
        self.args, self.begun = args, begun
        for program in [EMOPIPE, *TESTS.iterdir()]:
            program.chmod(0o755)
        # One card: its number means the same to all programs.
        self.environment = {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "0", **os.environ,
            "CUDA_CACHE_PATH": str(CACHE), "CUDA_CACHE_MAXSIZE": str(128 << 20), "PYTHONUNBUFFERED": "1",
            "EMOPIPE_FIXTURES": str(ROOT / "tests" / "fixtures"), "RUST_TEST_THREADS": "1",
        }
        name, driver = card()
        of = {"program": hashlib.sha256(EMOPIPE.read_bytes()).hexdigest()[:16], "card": name, "rehearsal": args.rehearse}
        self.cached = 0
        args.out.mkdir(parents=True, exist_ok=True)
        known = Results.read(args.resume) if args.resume else []
        known = known if any(of.items() <= line.items() for line in known) else []
        if known:
            self.restore_cache(args.resume)
        self.results = Results(args.out, known)
        self.log = (args.out / LOG).open("a", buffering=1)
        self.record({"part": "start", **of, "driver": driver, "resumed": bool(known), "processors": os.cpu_count()})

    def record(self, line):
        line = {**line, "at": round(time.monotonic() - self.begun, 1)}
        self.results.add(line)
        print(json.dumps(line), file=self.log)
        print(json.dumps(line)[:300], file=sys.stderr)

    def left(self):
        return self.args.seconds - (time.monotonic() - self.begun)

    def run(self, name, part):
        self.part, begun = name, time.monotonic()
        limit = (part.limit or self.left()) * (SLOWER if self.args.rehearse else 1)
        self.until = begun + min(limit, self.left())
        if self.left() < NOTICE:
            return self.record({"part": name, "left_out": "no time was left"})
        part(self)
        self.record({"part": name, "seconds": round(time.monotonic() - begun, 1)})
        self.keep_cache()

    def known(self, **of):
        """The lines with these values."""
        return [line for line in self.results.lines if of.items() <= line.items()]

    def process(self, command, of_line, environment=None, log_output=True):
        """Runs a command until the part's time is up; every line of its output goes to `of_line`, and with its errors to the log.
        Its exit status; None where it was ended."""
        command = [str(word) for word in command]
        print("$", *command, file=self.log)
        child = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL, text=True, errors="replace",
            env={**self.environment, **(environment or {})}, start_new_session=True)
        ended = threading.Event()

        def end():
            ended.set()
            os.killpg(child.pid, signal.SIGKILL)

        timer = threading.Timer(max(1.0, self.until - time.monotonic()), end)
        timer.start()
        try:
            for line in child.stdout:
                if log_output:
                    self.log.write(line)
                of_line(line)
            status = child.wait()
        finally:
            timer.cancel()
        return None if ended.is_set() else status

    def figures(self, command, **of):
        """Records the JSON lines that a command prints."""

        def of_line(text):
            try:
                line = json.loads(text)
            except ValueError:
                return
            if isinstance(line, dict):
                self.record({"part": self.part, **of, **line})

        status = self.process(command, of_line, log_output=False)
        if status != 0:
            why = "ended at its time limit" if status is None else f"ended with {status}, see log.txt"
            self.record({"part": self.part, **of, "error": f"{why}: {' '.join(map(str, command))}"})

    def notice(self):
        """Seconds after which a process of this part should begin nothing more."""
        return max(1, int(self.until - time.monotonic() - NOTICE))

    def keep_cache(self):
        """Packs the driver's translations where there are new ones."""
        size = sum(path.stat().st_size for path in CACHE.rglob("*") if path.is_file())
        if size == self.cached:
            return
        self.cached = size
        packed = ROOT / PACKED_CACHE
        with tarfile.open(packed, "w:xz", preset=1) as archive:
            archive.add(CACHE, CACHE.name)
        if packed.stat().st_size <= MOST_CACHE:
            shutil.copy(packed, self.args.out / f"{PACKED_CACHE}.part")
            (self.args.out / f"{PACKED_CACHE}.part").replace(self.args.out / PACKED_CACHE)

    def restore_cache(self, folder):
        if (folder / PACKED_CACHE).exists() and not CACHE.exists():
            with tarfile.open(folder / PACKED_CACHE) as archive:
                archive.extractall(ROOT)
            self.keep_cache()


def part(limit):
    def of(function):
        function.limit = limit
        return function

    return of


def measured(session, part, program):
    """The pieces that a program has done already."""
    lines = session.known(part=part, program=program)
    return [line["piece"] for line in lines if "piece" in line and "error" not in line]


def suite_command(session, *arguments):
    model, work = (TINY_MODEL, [*TINY_WORK, *TINY_SUITE]) if session.args.rehearse else (MODEL, WORK)
    return [EMOPIPE, "bench", "suite", "--device", "cuda", *model, *work, *arguments]


def peer_command(session, *arguments):
    model, work, device = (TINY_MODEL, TINY_WORK, "cpu") if session.args.rehearse else (MODEL, WORK, "cuda")
    # The emulator isn't for PyTorch.
    alone = ["env", "-u", "LD_LIBRARY_PATH"] if session.args.rehearse else []
    return [*alone, session.args.peer, "scripts/bench/peer.py", "suite", "--device", device, *model, *work, *arguments]


def tests(session, title, name, filters, environment):
    """Runs a test executable, unless it passed before."""
    if any("passed" in line for line in session.known(title=title)):
        return
    failed, counts, text = [], [], []

    def of_line(line):
        text.append(line)
        counts.extend(map(int, re.findall(r"^test result: \w+\. (\d+) passed", line)))
        failed.extend(re.findall(r"^test (\S+) \.\.\. FAILED", line))

    status = session.process([TESTS / name, *filters, "--nocapture"], of_line, environment)
    passed = sum(counts)
    if status == 0 and passed and not any("SKIPPED" in line for line in text):
        session.record({"part": session.part, "title": title, "passed": passed})
    else:
        why = "ended at its time limit" if status is None else f"failed: {', '.join(failed)}" if failed else "skipped; see log.txt"
        session.record({"part": session.part, "title": title, "error": why})


@part(limit=55)
def kernels(session):
    tests(session, KERNELS, "emopipe", ["models::ops::cuda"], {})


@part(limit=90)
def suite(session):
    skip = measured(session, "suite", "emopipe")
    session.figures(suite_command(session, "--seconds", session.notice(), *(["--skip", ",".join(skip)] if skip else [])), run=0)


@part(limit=150)
def peer(session):
    done = measured(session, "peer", "peft")
    wanted = [piece for piece in TRAININGS if piece not in done]
    if wanted:
        session.figures(peer_command(session, "--seconds", session.notice(), "--only", ",".join(wanted)), run=0)


@part(limit=60)
def profile(session):
    if not shutil.which("ncu"):
        return session.record({"part": "profile", "left_out": "there is no ncu"})
    for program, command in [("emopipe", suite_command), ("peft", peer_command)]:
        if session.known(part="profile", profiled=program):
            continue
        told = session.args.out / f"profile-{program}.csv"
        # The card's clocks are left as they are.
        ncu = ["ncu", "--profile-from-start", "off", "--target-processes", "all", "--clock-control", "none", "--csv", "--print-units", "base",
               "--metrics", "gpu__time_duration.sum", "--log-file", told, "--force-overwrite"]
        layers = ["--layers", "2" if session.args.rehearse else str(PROFILED_LAYERS)]
        session.figures([*ncu, *command(session, *layers, "--only", PROFILED[0])])
        if told.exists() and (times := kernel_times(told.read_text(errors="replace"))):
            session.record({"part": "profile", "profiled": program, "layers": layers[1], **times})


def kernel_times(text):
    """What ncu's table says: the time of all kernels, and of those that took most."""
    rows = text[text.find('"ID"'):].splitlines() if '"ID"' in text else []
    sums = {}
    for row in csv.DictReader(rows):
        value = row.get("Metric Value") or row.get("gpu__time_duration.sum") or ""
        name = re.split(r"[(<]", re.sub(r"^void ", "", row.get("Kernel Name") or ""))[0].split("::")[-1]
        try:
            nanoseconds = float(value.replace(",", ""))
        except ValueError:  # the row of units
            continue
        unit = row.get("Metric Unit") or "ns"
        factor = {"ns": 1e-6, "nsecond": 1e-6, "us": 1e-3, "usecond": 1e-3, "ms": 1.0, "msecond": 1.0}.get(unit, 1e-6)
        count, time = sums.get(name, (0, 0.0))
        sums[name] = (count + 1, time + nanoseconds * factor)
    if not sums:
        return None
    longest = sorted(sums.items(), key=lambda entry: -entry[1][1])
    return {
        "kernels_ms": round(sum(t for _, t in sums.values()), 3), "launched": sum(n for n, _ in sums.values()),
        "longest": [{"kernel": name, "launches": count, "ms": round(t, 3)} for name, (count, t) in longest[:12]],
    }


@part(limit=70)
def parity(session):
    for title, name, environment in PARITY:
        if time.monotonic() < session.until:
            tests(session, title, name, ["agrees_with_the_reference"], {"EMOPIPE_DEVICE": "cuda", **environment})


@part(limit=45)
def sanitizer(session):
    if session.known(part="sanitizer", clean=True):
        return
    if not shutil.which("compute-sanitizer"):
        return session.record({"part": "sanitizer", "left_out": "there is no compute-sanitizer"})
    summary = []
    # It is slow, so the shape is tiny; an error of a kernel's gives its status.
    command = [EMOPIPE, "bench", "suite", "--device", "cuda", *TINY_MODEL, *TINY_WORK, *TINY_SUITE, "--only", ",".join(PROFILED)]
    status = session.process(
        ["compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9", *command],
        lambda line: summary.extend(re.findall(r"ERROR SUMMARY: (.*)", line)))
    if status == 0 and summary:
        session.record({"part": "sanitizer", "clean": True, "summary": summary[-1]})
    else:
        why = "ended at its time limit" if status is None else summary[-1] if summary else f"ended with {status}; see log.txt"
        session.record({"part": "sanitizer", "error": why})


@part(limit=None)
def repeats(session):
    """Both programs in turn, while what a turn took last time is left."""
    if not measured(session, "suite", "emopipe"):
        return session.record({"part": "repeats", "left_out": "nothing was measured before"})
    longest, run = 0.0, max([line["run"] for line in session.known(part="repeats") if "run" in line], default=0)
    while session.left() > longest + NOTICE and run < MOST_RUNS:
        run += 1
        begun = time.monotonic()
        for command in (suite_command, peer_command):
            session.until = time.monotonic() + session.left()
            session.figures(command(session, "--seconds", session.notice(), "--only", ",".join(TRAININGS)), run=run)
        longest = max(longest, time.monotonic() - begun)


PARTS = {p.__name__: p for p in (kernels, suite, peer, profile, parity, sanitizer, repeats)}
