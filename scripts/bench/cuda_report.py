"""What scripts/bench/cuda.py measured, as Markdown."""
import json
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {True: ROOT / "benches" / "rehearsal" / "shape.json", False: ROOT / "benches" / "models" / "chatglm2-6b.json"}
BUDGET_MIB = 20 << 10

LENGTHS = {"sst": "SST's lengths", "long": "512 tokens each, nothing shared"}
METHODS = {"lora": "LoRA, rank 8", "prefix": "P-Tuning v2, 32 virtual tokens"}
# Of the peer's speed, and of the ceiling. On long rows nothing is shared, and even at the ceiling twice the peer is the limit.
GOALS = {"sst": (3.0, None), "long": (1.3, 0.5)}


def has_figures(lines):
    return any("examples_per_s" in line or "tflops" in line for line in lines if line.get("program") == "emopipe")


def unmended(lines):
    """The errors that nothing later made good: of pieces and tests those that were never done, of whole parts those of the last call."""
    done = {key(line) for line in lines if "error" not in line}
    last = max((i for i, line in enumerate(lines) if line["part"] == "start"), default=0)
    wholes = [line for line in lines[last:] if key(line)[1:] == (None, None)]
    return [line for line in lines if "error" in line and (line in wholes if key(line)[1:] == (None, None) else key(line) not in done)]


def key(line):
    return line["part"], line.get("piece"), line.get("title")


def failures(lines):
    """The parts that failed."""
    return sorted({line["part"] for line in unmended(lines)})


def operations_per_token(shape):
    """Multiplications and additions that training needs for a token in the layers' frozen matrices: the product itself, and the
    gradient of its input. Attention and the output layer, which meets a few tokens alone, are left out, so shares are low estimates."""
    hidden, heads = shape["hidden_size"], shape["kv_channels"] * shape["num_attention_heads"]
    groups = 2 * shape["kv_channels"] * shape["multi_query_group_num"]
    matrices = hidden * (heads + groups) + heads * hidden + 3 * hidden * shape["ffn_hidden_size"]
    return 2 * 2 * matrices * shape["num_layers"]


def of(lines, program, piece):
    """All runs of a piece."""
    return [x for x in lines if x.get("program") == program and x.get("piece") == piece and "error" not in x]


def median(runs, name):
    values = [run[name] for run in runs if run.get(name) is not None]
    return statistics.median(values) if values else None


def cell(value, form="{:.0f}"):
    return "-" if value is None else form.format(value)


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def header(*cells):
    return [row(*cells), "|" + "---|" * len(cells)]


def table(lines):
    """The whole report."""
    parts = [start, tests, training, phases, products, profiles, troubles]
    return "\n".join(text for part in parts for text in [*part(lines), ""])


def start(lines):
    name = next((x["device_name"] for x in lines if x.get("program") == "emopipe" and "device_name" in x), None)
    card = ", driver ".join(next(([x["card"], x["driver"]] for x in lines if x.get("card")), ["no nvidia-smi"]))
    versions = next((x["versions"] for x in lines if "versions" in x), {})
    runs = max([len(of(lines, "emopipe", f"train-{lengths}-{method}")) for lengths in LENGTHS for method in METHODS], default=0)
    if any(x.get("rehearsal") for x in lines):
        yield "A rehearsal on tiny shapes: these figures say nothing.\n"
    yield (f"One {name or 'GPU'} ({card}); bf16, batch 16; medians of steps, and of {runs} run(s). Peer: "
           + (", ".join(f"{n} {v}" for n, v in versions.items()) or "not measured") + ".")
    if (ceiling := ceiling_of(lines)) is not None:
        size = of(lines, "emopipe", "ceiling")[0]["size"]
        yield f"Measured ceiling, a bf16 product of {size} x {size} matrices by cuBLAS: {ceiling:.0f} TFLOP/s."


def ceiling_of(lines):
    return median(of(lines, "emopipe", "ceiling"), "tflops")


def tests(lines):
    yield from header("test", "outcome")
    titles = dict.fromkeys(x["title"] for x in lines if "title" in x)
    for title in titles:
        last = [x for x in lines if x.get("title") == title][-1]
        yield row(title, f"{last['passed']} passed" if "passed" in last else f"FAILED: {last['error']}")
    for method, title in METHODS.items():
        for x in of(lines, "emopipe", f"same-{method}"):
            yield row(f"{x['steps']} training steps twice, {title}", f"the same bits; parameters {x['parameters']}")
    for x in lines:
        if x["part"] == "sanitizer" and "summary" in x:
            yield row("one step of each method under `compute-sanitizer`", x["summary"])


def training(lines):
    shape = json.loads(SHAPES[any(x.get("rehearsal") for x in lines)].read_text())
    ceiling = ceiling_of(lines)
    yield from header(
        "training, ChatGLM2-6B's shape", "examples/s", "peer", "ratio", "tokens/s", "peer", "computed tokens/s", "share of the ceiling",
        "peak in tensors, MiB", "peer", "peak reserved, MiB", "peer", "within 20 GiB", "goal")
    for lengths, title in LENGTHS.items():
        for method, adapter in METHODS.items():
            own, peer = (of(lines, program, f"train-{lengths}-{method}") for program in ("emopipe", "peft"))
            speed, other = median(own, "examples_per_s"), median(peer, "examples_per_s")
            ratio = speed / other if speed and other else None
            computed = median(own, "computed_tokens_per_s")
            share = computed * operations_per_token(shape) / 1e12 / ceiling if computed and ceiling else None
            reserved = median(own, "peak_device_reserved_mib")
            yield row(
                f"{adapter}, {title}", cell(speed, "{:.1f}"), cell(other, "{:.1f}"), cell(ratio, "{:.2f}"), cell(median(own, "tokens_per_s")),
                cell(median(peer, "tokens_per_s")), cell(computed), cell(share, "{:.0%}"),
                cell(median(own, "peak_device_memory_mib")), cell(median(peer, "peak_device_memory_mib")), cell(reserved),
                cell(median(peer, "peak_device_reserved_mib")), "-" if reserved is None else "yes" if reserved <= BUDGET_MIB else "no",
                goal(GOALS[lengths], ratio, share))


def goal(goals, ratio, share):
    """Whether what was aimed at was reached."""
    said = []
    for aim, value, text in zip(goals, (ratio, share), ("{:g}x", "{:.0%} of the ceiling")):
        if aim is not None:
            said.append(text.format(aim) + (": not measured" if value is None else ": yes" if value >= aim else ": no"))
    return ", ".join(said)


def phases(lines):
    yield from header(
        "one step (ms)", "tokens in its row", "on the clock", "device: forward", "backward", "norm", "optimiser", "enqueued: forward", "backward",
        "optimiser", "launches", "products", "allocations", "first step", "peer's step")
    for lengths, title in LENGTHS.items():
        for method, adapter in METHODS.items():
            own, peer = (of(lines, program, f"train-{lengths}-{method}") for program in ("emopipe", "peft"))
            if not own:
                continue

            def phase(where, name):
                values = [run[where][name] for run in own if name in run.get(where, {})]
                return cell(1e3 * statistics.median(values) if values else None, "{:.2f}")

            def milliseconds(runs, name):
                seconds = median(runs, name)
                return cell(None if seconds is None else 1e3 * seconds, "{:.1f}")

            yield row(
                f"{adapter}, {title}", cell(median(own, "row_tokens")), milliseconds(own, "median_step_s"),
                *(phase("device_s", name) for name in ("forward", "backward", "norm", "optimiser")),
                *(phase("enqueue_s", name) for name in ("forward", "backward", "optimiser")),
                *(cell(median(own, name)) for name in ("launches", "products", "allocations")), milliseconds(own[:1], "first_step_s"),
                milliseconds(peer, "median_step_s"))


def products(lines):
    ceiling = ceiling_of(lines)
    found = {}
    for line in lines:
        for product in line.get("products", []) if isinstance(line.get("products"), list) else []:
            found.setdefault((product["product"], product["direction"]), {})[product["rows"]] = product
    rows = sorted({rows for by_rows in found.values() for rows in by_rows})
    yield from header("product of a layer", "direction", *(f"{count} rows, TFLOP/s (of the ceiling)" for count in rows))
    for (name, direction), by_rows in found.items():
        cells = [by_rows.get(count, {}).get("tflops") for count in rows]
        yield row(name, direction, *("-" if t is None else f"{t:.0f}" + (f" ({t / ceiling:.0%})" if ceiling else "") for t in cells))


def profiles(lines):
    for x in lines:
        if "longest" in x:
            yield f"One step of {x['profiled']} with {x['layers']} layers by `ncu`: {x['launched']} kernels, {x['kernels_ms']:.1f} ms."
            yield ""
            yield from header("kernel", "launches", "ms", "share")
            for kernel in x["longest"]:
                yield row(kernel["kernel"], str(kernel["launches"]), f"{kernel['ms']:.3f}", f"{kernel['ms'] / max(x['kernels_ms'], 1e-9):.0%}")
            yield ""


def troubles(lines):
    said = [f"- {' '.join(filter(None, key(x)))}: {x['error']}" for x in unmended(lines)]
    said += [f"- {x['part']}: {x['left_out']}" for x in lines if "left_out" in x]
    if said:
        yield "Not measured, and why:"
        yield ""
        yield from dict.fromkeys(said)
        yield ""
    yield "A dash: not measured. Commands: `emopipe bench suite` and `scripts/bench/peer.py suite`, as scripts/bench/cuda_parts.py has them."
