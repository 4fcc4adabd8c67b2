#!/usr/bin/env python3
"""The peer: PyTorch, transformers and PEFT on the work that `emopipe bench` does. Prints JSON lines with the same keys.

    python peer.py train    --model smollm2-135m --workload ../../benches/workloads/mini.json --method lora
    python peer.py evaluate --model smollm2-135m --workload ../../benches/workloads/mini.json --answer rank
    python peer.py suite    --model chatglm2-6b --device cuda --dtype bf16 --workload sst=../../benches/workloads/sst.json

`suite` trains every workload with both methods in one process, a line for each as it is done; what there is no memory for is a
line, too. Weights are random, in the shapes of benches/models. Batches are padded to their longest sample, as transformers' collators do.
Needs torch, transformers and peft.
"""
import argparse
import gc
import itertools
import json
import resource
import statistics
import time
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, PrefixTuningConfig, get_peft_model

MODELS = Path(__file__).resolve().parents[2] / "benches" / "models"
IGNORE = -100


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["train", "evaluate", "suite"])
    parser.add_argument("--model", required=True, help="a shape of benches/models, or a file like those")
    parser.add_argument("--workload", required=True, action="append", help="a file; for suite NAME=FILE, several times")
    parser.add_argument("--method", default="lora", choices=["none", "lora", "ptuning2"])
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--virtual-tokens", type=int, default=32)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2, help="on each task")
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--answer", default="rank", choices=["rank", "generate", "head"])
    parser.add_argument("--examples", type=int, default=64, help="of each task")
    parser.add_argument("--max-new-tokens", type=int, default=8)
    parser.add_argument("--layers", type=int, help="in place of the shape's own number")
    parser.add_argument("--only", help="pieces of the suite, such as train-sst-lora or profile-sst-lora, with commas between them")
    parser.add_argument("--skip", default="", help="pieces of the suite to leave out")
    parser.add_argument("--seconds", type=float, help="begin no piece of the suite after so many")
    parser.add_argument("--backbone-dropout", action="store_true", help="train an encoder with the dropout of its configuration inside")
    return parser.parse_args()


def build(args, labels):
    """The model, its kind, and whether it is a decoder."""
    named = MODELS / f"{args.model}.json"
    shape = json.loads((named if named.exists() else Path(args.model)).read_text())
    kind = shape.pop("model_type")
    for key in {"num_layers", "num_hidden_layers"} & shape.keys():
        shape[key] = args.layers or shape[key]
    if kind == "chatglm":  # transformers' own class for the same block structure
        kind = "glm"
        shape = dict(
            vocab_size=shape["padded_vocab_size"], hidden_size=shape["hidden_size"],
            intermediate_size=shape["ffn_hidden_size"], num_hidden_layers=shape["num_layers"],
            num_attention_heads=shape["num_attention_heads"], num_key_value_heads=shape["multi_query_group_num"],
            head_dim=shape["kv_channels"], attention_bias=True, tie_word_embeddings=False,
            max_position_embeddings=shape["seq_length"],
        )
    decoder = kind != "bert"
    config = transformers.AutoConfig.for_model(kind, **shape, pad_token_id=0, num_labels=labels)
    config.eos_token_id = None
    if not decoder and not args.backbone_dropout:  # emopipe has none inside a frozen backbone
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    auto = transformers.AutoModelForCausalLM if decoder else transformers.AutoModelForSequenceClassification
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
    with torch.device(args.device):  # billions of numbers are drawn faster where they are used
        model = auto.from_config(config, dtype=dtype, attn_implementation="sdpa")
    return model, kind, decoder


def adapted(args, model, kind, decoder, method):
    """The model with an adapter."""
    task = "CAUSAL_LM" if decoder else "SEQ_CLS"
    targets = ["q_proj", "v_proj"] if kind in ("llama", "qwen2") else ["q_proj", "k_proj", "v_proj"] if decoder else ["query", "value"]
    if method == "lora":
        model = get_peft_model(model, LoraConfig(
            r=args.rank, lora_alpha=32, lora_dropout=0.1, target_modules=targets, task_type=task))
    elif method == "ptuning2":
        model = get_peft_model(model, PrefixTuningConfig(num_virtual_tokens=args.virtual_tokens, task_type=task))
    return model.to(args.device)


def wait(args):
    """Until the device has done what it was given."""
    if args.device != "cpu":
        torch.cuda.synchronize()


def padded(rows, device, left):
    """`[rows, longest]` token ids and their mask."""
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[i, place] = torch.tensor(row)
        mask[i, place] = 1
    return ids.to(device), mask.to(device)


def prompts(task, lengths, count, vocab):
    """Prompts of the workload's lengths, in turn; which tokens are in them makes no difference here."""
    lengths = itertools.islice(itertools.cycle(lengths), count)
    return [torch.randint(min(1000, vocab // 2), vocab, (n,)).tolist() for n in lengths]


class Trainer:
    """An adapter that is trained on one task."""

    def __init__(self, args, model, decoder, task, count):
        self.args, self.model, self.decoder, self.task = args, model.train(), decoder, task
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-3)
        self.labels = [ids + [task["end"]] for ids in task["labels"]]
        self.samples = prompts(task, task["train"], count, model.config.vocab_size)
        order = torch.randperm(count).tolist()
        self.batches = [order[i : i + args.batch] for i in range(0, count, args.batch)]

    def step(self, batch):
        """Its seconds and processor seconds, the tokens of its samples, those that were computed, and the loss."""
        wait(self.args)
        begun, before = time.perf_counter(), time.process_time()
        answers = [self.labels[i % len(self.labels)] if self.decoder else [] for i in batch]
        rows = [self.samples[i] + answer for i, answer in zip(batch, answers)]
        ids, mask = padded(rows, self.args.device, left=self.decoder)
        if self.decoder:
            wanted = torch.full_like(ids, IGNORE)
            for i, answer in enumerate(answers):
                wanted[i, -len(answer) :] = ids[i, -len(answer) :]
        else:
            wanted = torch.tensor([i % len(self.task["labels"]) for i in batch], device=self.args.device)
        loss = self.model(input_ids=ids, attention_mask=mask, labels=wanted).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        loss = loss.item()
        wait(self.args)
        return time.perf_counter() - begun, time.process_time() - before, sum(map(len, rows)), ids.numel(), loss


def train(args, workload):
    model, kind, decoder = build(args, max(len(t["labels"]) for t in workload["tasks"]))
    model = adapted(args, model, kind, decoder, args.method)
    steps = []
    for number, task in enumerate(workload["tasks"]):
        trainer = Trainer(args, model, decoder, task, args.batch * args.steps)
        for _ in range(args.warmup if number == 0 else 0):
            trainer.step(trainer.batches[0])
        steps += [trainer.step(batch) for batch in trainer.batches]
    seconds, processor, tokens, computed, losses = zip(*steps)
    total, examples = sum(seconds), len(steps) * args.batch
    return {
        "batch": args.batch, "steps": len(steps), "trainable": sum(p.numel() for p in trainer.trained),
        "examples_per_s": round(examples / total, 3), "tokens_per_s": round(sum(tokens) / total, 3),
        "computed_tokens_per_s": round(sum(computed) / total, 3),
        "examples_per_processor_s": round(examples / sum(processor), 3), "median_step_s": statistics.median(seconds), "loss": losses[-1],
    }


def suite(args):
    """Lines for each workload and method, SST's lengths first where they are named first."""
    begun = time.perf_counter()
    workloads = {name: json.loads(Path(path).read_text()) for name, path in (w.split("=", 1) for w in args.workload)}
    methods = {"lora": "lora", "prefix": "ptuning2"}
    pieces = [(what, name, label) for what in ("train", "profile") for name in workloads for label in methods]
    only, skip = args.only and args.only.split(","), args.skip.split(",")
    model = None
    for what, name, label in pieces:
        piece = f"{what}-{name}-{label}"
        if piece in skip or (piece not in only if only else what == "profile"):
            continue
        if args.seconds and time.perf_counter() - begun > args.seconds:
            break
        task, adapter = workloads[name]["tasks"][0], None
        try:
            if model is None:
                model, kind, decoder = build(args, len(task["labels"]))
            if args.device != "cpu":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            adapter = adapted(args, model, kind, decoder, methods[label])
            figures = (measured if what == "train" else profiled)(args, adapter, decoder, task)
        except torch.OutOfMemoryError as e:
            figures = {"error": f"out of memory: {e}"}
        except RuntimeError as e:
            figures = {"error": str(e)}
        yield {"piece": piece, **figures, **on_device(args), "seconds_since_start": time.perf_counter() - begun}
        # What was trained goes before the next piece; LoRA's layers lie inside the model.
        if method == "lora" and adapter is not None:
            model = adapter.unload()
        for parameter in model.parameters() if model else []:
            parameter.grad = None
            parameter.requires_grad_(False)
        adapter = None
        gc.collect()


def measured(args, model, decoder, task):
    """All steps once for warm-up; then the same ones."""
    trainer = Trainer(args, model, decoder, task, args.batch * args.steps)
    first = [trainer.step(batch) for batch in trainer.batches]
    seconds, _, tokens, computed, losses = zip(*[trainer.step(batch) for batch in trainer.batches])
    step = statistics.median(seconds)
    return {
        "batch": args.batch, "steps": len(seconds), "examples_per_s": round(args.batch / step, 3),
        "tokens_per_s": round(sum(tokens) / len(tokens) / step, 3),
        "computed_tokens_per_s": round(sum(computed) / len(computed) / step, 3),
        "median_step_s": step, "first_step_s": first[0][0], "step_s": seconds, "loss": losses[-1],
    }


def profiled(args, model, decoder, task):
    """One step after two, for `ncu --profile-from-start off`."""
    trainer = Trainer(args, model, decoder, task, args.batch * 2)
    for batch in trainer.batches:
        trainer.step(batch)
    if args.device != "cpu":
        torch.cuda.profiler.start()
    loss = trainer.step(trainer.batches[0])[-1]
    if args.device != "cpu":
        torch.cuda.profiler.stop()
    return {"layers": model.config.num_hidden_layers, "loss": loss}


@torch.no_grad()
def evaluate(args, workload):
    model, kind, decoder = build(args, max(len(t["labels"]) for t in workload["tasks"]))
    model = adapted(args, model, kind, decoder, args.method).eval()
    vocab = model.config.vocab_size
    count, tokens, seconds, processor = 0, 0, 0.0, 0.0
    for number, task in enumerate(workload["tasks"]):
        asked = prompts(task, task["test"], args.examples, vocab)
        if number == 0:
            answer(args, model, task, asked[:1])
        wait(args)
        begun, before = time.perf_counter(), time.process_time()
        answer(args, model, task, asked)
        wait(args)
        seconds += time.perf_counter() - begun
        processor += time.process_time() - before
        count += len(asked)
        tokens += sum(map(len, asked))
    return {"answer": args.answer, "examples": count, "examples_per_s": round(count / seconds, 3),
            "tokens_per_s": round(tokens / seconds, 3), "examples_per_processor_s": round(count / processor, 3)}


def answer(args, model, task, asked):
    for start in range(0, len(asked), args.batch):
        batch = asked[start : start + args.batch]
        if args.answer == "rank":  # every label after every prompt
            for label in task["labels"]:
                ending = label + [task["end"]]
                ids, mask = padded([prompt + ending for prompt in batch], args.device, left=True)
                logits = model(input_ids=ids, attention_mask=mask).logits[:, -len(ending) - 1 : -1].float()
                logits.log_softmax(-1).gather(-1, ids[:, -len(ending) :, None]).sum((1, 2)).tolist()
        elif args.answer == "generate":
            ids, mask = padded(batch, args.device, left=True)
            model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=args.max_new_tokens,
                           min_new_tokens=args.max_new_tokens, do_sample=False, pad_token_id=0)
        else:
            ids, mask = padded(batch, args.device, left=False)
            model(input_ids=ids, attention_mask=mask).logits.argmax(-1).tolist()


def on_device(args):
    if args.device == "cpu":
        return {"device_name": "cpu"}
    return {
        "device_name": torch.cuda.get_device_name(),
        "peak_device_memory_mib": torch.cuda.max_memory_allocated() >> 20,
        "peak_device_reserved_mib": torch.cuda.max_memory_reserved() >> 20,
    }


def main():
    args = arguments()
    torch.manual_seed(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    of = {"program": "peft", "model": args.model, "device": args.device, "dtype": args.dtype}
    versions = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}}
    if args.what == "suite":
        for line in suite(args):
            print(json.dumps({**of, **line, **versions}), flush=True)
        return
    path = Path(args.workload[-1])
    figures = (train if args.what == "train" else evaluate)(args, json.loads(path.read_text()))
    print(json.dumps({
        **of, "what": args.what, "method": args.method, "workload": path.stem, "threads": torch.get_num_threads(), **figures,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, **on_device(args), **versions,
    }))


if __name__ == "__main__":
    main()
