#!/usr/bin/env python3
"""Puts `emopipe bench` beside the peer: prints a table and writes it into docs/benchmarks.md.

    python3 scripts/bench/compare.py [--runs 3] [--threads 2] [--only train-lora ...] [--peer PYTHON]

The programs take turns (A B A B ...), one process at a time; the figures are medians over the runs. The peer needs torch,
transformers and peft in the Python that `--peer` (or EMOPIPE_PEER) names; without it, only emopipe is measured.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"

FIGURES = [("examples_per_s", "{:.2f}"), ("examples_per_processor_s", "{:.2f}"), ("peak_memory_mib", "{:.0f}")]

SMALL = ["--model", "smollm2-135m"]
ENCODER = ["--model", "minilm-l6"]
# name, what it is, arguments that both programs understand
CASES = [
    ("train-lora", "training, LoRA, real prompts", ["train", *SMALL, "--method", "lora", "--workload", "mini", "--steps", "1"]),
    ("train-prefix", "training, P-Tuning v2, real prompts", ["train", *SMALL, "--method", "ptuning2", "--workload", "mini", "--steps", "1"]),
    ("train-equal", "training, LoRA, equal lengths, nothing shared", ["train", *SMALL, "--method", "lora", "--workload", "equal", "--steps", "6"]),
    ("train-equal-prefix", "training, P-Tuning v2, equal lengths, nothing shared", ["train", *SMALL, "--method", "ptuning2", "--workload", "equal", "--steps", "6"]),
    ("rank", "evaluation by `rank`, real prompts", ["evaluate", *SMALL, "--method", "lora", "--workload", "mini", "--examples", "16"]),
    ("generate", "evaluation by `generate`, 8 tokens, real prompts", ["evaluate", *SMALL, "--method", "lora", "--workload", "mini", "--examples", "16", "--answer", "generate"]),
    ("generate-bf16", "the same, weights kept in bf16 beside the peer's f32", ["evaluate", *SMALL, "--method", "lora", "--workload", "mini", "--examples", "16", "--answer", "generate"]),
    ("encoder-lora", "encoder, training, LoRA, real prompts", ["train", *ENCODER, "--method", "lora", "--workload", "mini", "--steps", "3"]),
    ("encoder-prefix", "encoder, training, P-Tuning v2, real prompts", ["train", *ENCODER, "--method", "ptuning2", "--workload", "mini", "--steps", "3"]),
    ("encoder-equal", "encoder, training, LoRA, equal lengths", ["train", *ENCODER, "--method", "lora", "--workload", "equal", "--steps", "6"]),
    ("encoder-equal-prefix", "encoder, training, P-Tuning v2, equal lengths", ["train", *ENCODER, "--method", "ptuning2", "--workload", "equal", "--steps", "6"]),
]

# what emopipe alone is told
OWN = {"generate-bf16": ["--dtype", "bf16"]}


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=[name for name, _, _ in CASES], help="print these rows alone; the document keeps its table")
    parser.add_argument("--peer", default=os.environ.get("EMOPIPE_PEER", sys.executable), metavar="PYTHON")
    parser.add_argument("--print", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    return parser.parse_args()


def measure(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def peer_is_there(python):
    test = [python, "-c", "import torch, transformers, peft"]
    try:
        return subprocess.run(test, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def commands(name, case, args, peer):
    case = list(case)
    at = case.index("--workload") + 1
    case[at] = str((ROOT / "benches" / "workloads" / case[at]).with_suffix(".json"))
    case += ["--threads", str(args.threads)]
    yield "emopipe", [str(ROOT / "target/release/emopipe"), "bench", *case, "--random", *OWN.get(name, [])]
    if peer:
        yield "peer", [args.peer, str(ROOT / "scripts/bench/peer.py"), *case]


def medians(lines, keys):
    return {key: statistics.median(line[key] for line in lines) for key in keys}


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def table(rows, args, versions, loads):
    load = f"load average {min(loads):.1f} to {max(loads):.1f} meanwhile" if loads else "load unknown"
    peer = ", ".join(f"{name} {version}" for name, version in versions.items()) or "not measured: no Python with torch, transformers and peft"
    yield f"{processor()}, {args.threads} threads, f32, batch 16; medians of {args.runs} runs in turn; {load}. Peer: {peer}."
    yield ""
    yield "| work | examples/s | peer | ratio | examples/processor second | peer | ratio | peak memory, MiB | peer | ratio |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for title, figures in rows:
        own, peer = figures["emopipe"], figures.get("peer")
        cells = []
        for key, form in FIGURES:
            cells += [form.format(own[key]), form.format(peer[key]) if peer else "-", f"{own[key] / peer[key]:.2f}" if peer else "-"]
        yield f"| {title} | " + " | ".join(cells) + " |"


def main():
    args = arguments()
    peer = peer_is_there(args.peer)
    if not peer:
        print(f"SKIPPED peer: {args.peer} has no torch, transformers and peft; set EMOPIPE_PEER", file=sys.stderr)
    rows, versions, loads = [], {}, []
    for name, title, case in CASES:
        if args.only and name not in args.only:
            continue
        lines = {}
        for run in range(args.runs):
            for program, command in commands(name, case, args, peer):
                line = measure(command)
                print(json.dumps({"case": name, "run": run, **line}), file=sys.stderr)
                lines.setdefault(program, []).append(line)
                versions.update(line.get("versions", {}))
            if hasattr(os, "getloadavg"):
                loads.append(os.getloadavg()[0])
        rows.append((title, {program: medians(of, [key for key, _ in FIGURES]) for program, of in lines.items()}))
    text = "\n".join(table(rows, args, versions, loads))
    print(text)
    if args.write and not args.only:
        document = DOCUMENT.read_text()
        before, rest = document.split(BEGIN, 1)
        after = rest.split(END, 1)[1]
        DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
