#!/usr/bin/env python3
"""Everything about CUDA that needs a GPU, in one command: tests, then training beside the peer; writes docs/benchmarks.md.

    python3 scripts/bench/cuda.py [--runs 3] [--peer PYTHON] [--state FILE] [--print]

1. The kernels' tests against the CPU, and the parity fixtures on the GPU in f32 and bf16.
2. The ceiling: a bf16 product of two 8192 x 8192 matrices by cuBLAS.
3. `emopipe bench train` in the shape of ChatGLM2-6B with random weights in bf16, LoRA and P-Tuning v2, batch 16: prompts as long as
   SST's (with the paper's instruction and ChatGLM2's tokenizer), and long rows. The peer takes turns with it.

The program is target/release/emopipe, built here with `--features cuda`, or what EMOPIPE names. Where it is given, nothing is built, and
the tests are run from the folder that EMOPIPE_TESTS names (executables of `cargo test --release --features cuda --no-run`, called
emopipe, parity and parity_encoder, with or without their hashes). Without a GPU nothing is measured and the document stays as it is.

A full run takes a quarter of an hour. What was measured lies in `--state` (target/bench-cuda.json) after every process, and another call with
the same program goes on with what is missing; the document is written after every row.
"""
import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from compare import DOCUMENT, ROOT, medians, peer_is_there

BEGIN, END = "<!-- make bench-cuda writes from here -->", "<!-- to here, CUDA -->"
FEATURE = ["--release", "--locked", "--features", "cuda"]

SHAPE = json.loads((ROOT / "benches" / "models" / "chatglm2-6b.json").read_text())
BUDGET_MIB = 20 << 10

# name of the test executable, its arguments, what the environment adds, what it shows
TESTS = [
    ("emopipe", ["models::ops::cuda"], {}, "kernels against the CPU, forward and backward"),
    ("parity", ["agrees_with_the_reference"], {"EMOPIPE_DEVICE": "cuda"}, "decoders against PyTorch and PEFT, f32"),
    ("parity", ["agrees_with_the_reference"], {"EMOPIPE_DEVICE": "cuda", "EMOPIPE_DTYPE": "bf16"}, "decoders against PyTorch and PEFT, bf16"),
    ("parity_encoder", ["agrees_with_the_reference"], {"EMOPIPE_DEVICE": "cuda"}, "encoders against PyTorch and PEFT, f32"),
]

WORKLOADS = [("sst", "SST's lengths"), ("long", "512 tokens each, nothing shared")]
METHODS = [("lora", "LoRA, rank 8"), ("prefix", "P-Tuning v2, 32 virtual tokens")]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer", default=os.environ.get("EMOPIPE_PEER", sys.executable), metavar="PYTHON")
    parser.add_argument("--state", type=Path, default=ROOT / "target" / "bench-cuda.json", metavar="FILE")
    parser.add_argument("--print", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    return parser.parse_args()


def program():
    """The program, after building it where none is given."""
    if given := os.environ.get("EMOPIPE"):
        return str(Path(given).resolve())
    subprocess.run(["cargo", "build", *FEATURE], cwd=ROOT, check=True)
    return str(ROOT / "target" / "release" / "emopipe")


def measure(command):
    """The figures that a command prints; None where it fails, for want of memory for example."""
    print("$", *command, file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT)
    if done.returncode:
        return None
    line = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(line), file=sys.stderr)
    return line


def executable(name, filters):
    """The newest executable of that name in EMOPIPE_TESTS that has the tests: a program's own may be called like the library's."""
    folder = Path(os.environ["EMOPIPE_TESTS"]).resolve()
    found = [p for p in folder.iterdir() if p.is_file() and re.fullmatch(rf"{name}(-[0-9a-f]+)?", p.name) and os.access(p, os.X_OK)]
    for path in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True):
        listed = subprocess.run([path, "--list", *filters], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        if ": test" in listed.stdout:
            return str(path)
    sys.exit(f"EMOPIPE_TESTS={folder} has no test executable called {name}")


def test(name, filters, environment):
    """What became of a test executable: `passed`, `FAILED`, or why it wasn't run."""
    if "EMOPIPE_TESTS" in os.environ:
        command = [executable(name, filters)]
    elif "EMOPIPE" in os.environ:
        return "not run: set EMOPIPE_TESTS"
    else:
        command = ["cargo", "test", *FEATURE, *(["--lib"] if name == "emopipe" else ["--test", name]), "--"]
    # One thread: a kernel's module must not be loaded twice.
    usual = {"EMOPIPE_FIXTURES": str(ROOT / "tests" / "fixtures"), "RUST_TEST_THREADS": "1"}
    environment = {**usual, **os.environ, **environment}
    done = subprocess.run([*command, *filters, "--nocapture"], cwd=ROOT, env=environment, text=True, capture_output=True)
    print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
    passed = sum(map(int, re.findall(r"^test result: ok\. (\d+) passed", done.stdout, re.MULTILINE)))
    skipped = "SKIPPED" in done.stdout + done.stderr
    return f"{passed} passed" if done.returncode == 0 and passed and not skipped else "FAILED"


def operations_per_token():
    """Multiplications and additions that training needs for a token in the layers' frozen matrices: the product itself, and the
    gradient of its input. Attention and the output layer, which meets a few tokens alone, are left out, so shares are low estimates."""
    hidden, heads = SHAPE["hidden_size"], SHAPE["kv_channels"] * SHAPE["num_attention_heads"]
    groups = 2 * SHAPE["kv_channels"] * SHAPE["multi_query_group_num"]
    matrices = hidden * (heads + groups) + heads * hidden + 3 * hidden * SHAPE["ffn_hidden_size"]
    return 2 * 2 * matrices * SHAPE["num_layers"]


def training(workload, method):
    return ["train", "--model", "chatglm2-6b", "--device", "cuda", "--dtype", "bf16", "--method", method, "--batch", "16",
            "--workload", f"benches/workloads/{workload}.json", "--steps", "10", "--warmup", "3"]


class State:
    """What was measured so far with this program on this GPU: the outcome of each piece of work by its name."""

    def __init__(self, path, program, device):
        self.path = path
        of = {"program": hashlib.sha256(Path(program).read_bytes()).hexdigest(), "device": device}
        known = json.loads(path.read_text()) if path.exists() else {}
        self.known = known if of.items() <= known.items() else of

    def get(self, name, work):
        if self.known.get(name, "FAILED") == "FAILED":
            self.known[name] = work()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.known, indent=1))
        return self.known[name]


def train(emopipe, args, peer, workload, method, state):
    """Medians of each program's runs; a program of which a run fails isn't among them."""
    commands = {"emopipe": [emopipe, "bench", *training(workload, method), "--random"]}
    if peer:
        commands["peer"] = [args.peer, "scripts/bench/peer.py", *training(workload, method)]
    lines = {name: [] for name in commands}
    for run in range(args.runs):
        for name, command in commands.items():
            # Where there wasn't room for it once, there won't be again.
            if all(lines[name]):
                lines[name].append(state.get(f"{workload} {method} {name} {run}", lambda: measure(command)))
    return {name: {**of[0], **medians(of, [key for key in KEYS if key in of[0]])} for name, of in lines.items() if all(of)}


KEYS = ["examples_per_s", "tokens_per_s", "computed_tokens_per_s", "peak_device_memory_mib", "peak_device_reserved_mib"]


def report(args, ceiling, tests, rows):
    peer = next((r["peer"]["versions"] for _, _, r in rows if "peer" in r), None)
    peer = ", ".join(f"{n} {v}" for n, v in peer.items()) if peer else "not measured: no Python with torch, transformers and peft"
    yield f"{ceiling['device_name']}, {platform.machine()}; bf16, batch 16; medians of {args.runs} runs in turn. Peer: {peer}."
    yield f"Measured ceiling, a bf16 product of {ceiling['size']} x {ceiling['size']} matrices: {ceiling['tflops']:.0f} TFLOP/s."
    yield ""
    yield "| test | outcome |"
    yield "|---|---|"
    for title, outcome in tests:
        yield f"| {title} | {outcome} |"
    yield ""
    yield ("| training, ChatGLM2-6B's shape | examples/s | peer | ratio | tokens/s | peer | computed tokens/s | share of the ceiling "
           "| peak in tensors, MiB | peer | peak reserved, MiB | peer | within 20 GiB |")
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    for lengths, method, lines in rows:
        yield "| " + " | ".join([f"{method}, {lengths}", *cells(lines.get("emopipe"), lines.get("peer"), ceiling)]) + " |"
    yield ""
    yield f"A dash: not measured, or the run failed. Commands: `emopipe bench {' '.join(training('sst', 'lora'))} --random` and so on;"
    yield "the peer is `python scripts/bench/peer.py` with the same arguments without `--random`."


def cells(own, peer, ceiling):
    def one(line, key, form="{:.0f}"):
        return form.format(line[key]) if line and key in line else "-"

    ratio = f"{own['examples_per_s'] / peer['examples_per_s']:.2f}" if own and peer else "-"
    yield from (one(own, "examples_per_s", "{:.1f}"), one(peer, "examples_per_s", "{:.1f}"), ratio)
    yield from (one(own, "tokens_per_s"), one(peer, "tokens_per_s"), one(own, "computed_tokens_per_s"))
    yield f"{own['computed_tokens_per_s'] * operations_per_token() / 1e12 / ceiling['tflops']:.0%}" if own else "-"
    for key in ("peak_device_memory_mib", "peak_device_reserved_mib"):
        yield from (one(own, key), one(peer, key))
    reserved = own and own.get("peak_device_reserved_mib")
    yield ("yes" if reserved <= BUDGET_MIB else "no") if reserved else "-"


def main():
    args = arguments()
    emopipe = program()
    probe = measure([emopipe, "bench", "matmul", "--device", "cuda", "--size", "16", "--repeats", "1"])
    if not probe:
        sys.exit("bench-cuda: no GPU that this program can compute on (its reason is above); nothing was measured")
    peer = peer_is_there(args.peer)
    if not peer:
        print(f"SKIPPED peer: {args.peer} has no torch, transformers and peft; set EMOPIPE_PEER", file=sys.stderr)
    state = State(args.state, emopipe, probe["device_name"])
    tests = [(title, state.get(title, lambda: test(name, filters, environment))) for name, filters, environment, title in TESTS]
    ceiling = state.get("ceiling", lambda: measure([emopipe, "bench", "matmul", "--device", "cuda", "--dtype", "bf16"]))
    if not ceiling:
        sys.exit("bench-cuda: the ceiling can't be measured; its reason is above")
    rows = [(lengths, adapter, {}) for _, lengths in WORKLOADS for _, adapter in METHODS]
    for i, (workload, method) in enumerate((w, m) for w, _ in WORKLOADS for m, _ in METHODS):
        rows[i] = (*rows[i][:2], train(emopipe, args, peer, workload, method, state))
        text = "\n".join(report(args, ceiling, tests, rows))
        if args.write:
            before, rest = DOCUMENT.read_text().split(BEGIN, 1)
            DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}")
    print(text)
    if any("FAILED" in outcome for _, outcome in tests):
        sys.exit("bench-cuda: a test failed")


if __name__ == "__main__":
    main()
