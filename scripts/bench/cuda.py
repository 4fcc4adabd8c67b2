#!/usr/bin/env python3
"""Everything about CUDA that needs a GPU, in one command, in the order in which it tells most.

    python3 scripts/bench/cuda.py --out FOLDER [--resume FOLDER] [--seconds 560] [--only PART ...]
    python3 scripts/bench/cuda.py --write FOLDER          # its table into docs/benchmarks.md; no GPU needed

It runs from a folder that scripts/bench/cuda-pack.sh packed, with Python alone: no Rust, no network. Parts, each with a time limit:

    kernels    every kernel against the CPU, forwards and backwards
    suite      `emopipe bench suite`: the ceiling, a layer's products, training in ChatGLM2-6B's shape, the same steps twice
    peer       PyTorch, transformers and PEFT on the same work, SST's lengths first
    profile    one step of each by kernels, where `ncu` is
    parity     the fixtures of PyTorch and PEFT, decoders and encoders
    sanitizer  one step of each method under `compute-sanitizer`, where it is
    repeats    training of both programs again, in turn, while there is time

Every figure is written to FOLDER/results.jsonl as it comes, so that a call that is cut short leaves what it measured; another call
with `--resume` and that folder does what is missing, if it is for the same program and the same card. FOLDER also gets log.txt,
report.md, what ncu said, and the driver's translations of the kernels in one file, which the next call needn't wait for. No folders
in it, so that it can be fetched as a few files. `--rehearse` runs all of it on tiny shapes (with scripts/emulate.sh: without a GPU).
"""
import argparse
import os
import sys
import time
from pathlib import Path

import cuda_report
from cuda_parts import PARTS, ROOT, Results, Session

DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- make bench-cuda writes from here -->", "<!-- to here, CUDA -->"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where everything is written")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="what an earlier call wrote; may be the same folder")
    parser.add_argument("--seconds", type=float, default=560, help="for all of it")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART")
    parser.add_argument("--peer", default=os.environ.get("EMOPIPE_PEER", sys.executable), metavar="PYTHON")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes; the peer computes on the CPU")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write that folder's table into docs/benchmarks.md")
    return parser.parse_args()


def write(folder):
    lines = Results.read(folder)
    if not cuda_report.has_figures(lines):
        sys.exit(f"bench-cuda: {folder} holds no figures; docs/benchmarks.md stays as it is")
    before, rest = DOCUMENT.read_text().split(BEGIN, 1)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{cuda_report.table(lines)}{END}{rest.split(END, 1)[1]}")


def main():
    begun = time.monotonic()
    args = arguments()
    if args.write:
        return write(args.write)
    if not args.out:
        sys.exit("bench-cuda: say where to write, with --out FOLDER")
    session = Session(args, begun)
    for name, part in PARTS.items():
        if args.only and name not in args.only:
            continue
        try:
            session.run(name, part)
        except Exception as e:  # one part's mishap isn't another's
            session.record({"part": name, "error": f"{type(e).__name__}: {e}"})
        (args.out / "report.md").write_text(cuda_report.table(session.results.lines))
    print(cuda_report.table(session.results.lines))
    if not cuda_report.has_figures(session.results.lines):
        sys.exit("bench-cuda: nothing was measured; log.txt says why")
    if failed := cuda_report.failures(session.results.lines):
        sys.exit(f"bench-cuda: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
