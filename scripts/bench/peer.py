#!/usr/bin/env python3
"""The peer: PyTorch, transformers and PEFT on the work that `emopipe bench` does. Prints one JSON line with the same keys.

    python peer.py train    --model smollm2-135m --workload ../../benches/workloads/mini.json --method lora
    python peer.py evaluate --model smollm2-135m --workload ../../benches/workloads/mini.json --answer rank
    python peer.py train    --model chatglm2-6b --device cuda --dtype bf16 --workload ../../benches/workloads/sst.json

Weights are random, in the shapes of benches/models. Batches are padded to their longest sample, as transformers' collators do.
Needs torch, transformers and peft.
"""
import argparse
import itertools
import json
import resource
import statistics
import time
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, PrefixTuningConfig, get_peft_model

MODELS = Path(__file__).resolve().parents[2] / "benches" / "models"
IGNORE = -100


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["train", "evaluate"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--workload", required=True, type=Path)
    parser.add_argument("--method", default="lora", choices=["none", "lora", "prefix"])
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
    parser.add_argument("--longest", type=int, default=8)
    parser.add_argument("--backbone-dropout", action="store_true", help="train an encoder with the dropout of its configuration inside")
    return parser.parse_args()


def build(args, labels):
    """The model with its adapter, and whether it is a decoder."""
    shape = json.loads((MODELS / f"{args.model}.json").read_text())
    kind = shape.pop("model_type")
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
    task = "CAUSAL_LM" if decoder else "SEQ_CLS"
    targets = ["q_proj", "v_proj"] if kind in ("llama", "qwen2") else ["q_proj", "k_proj", "v_proj"] if decoder else ["query", "value"]
    if args.method == "lora":
        model = get_peft_model(model, LoraConfig(
            r=args.rank, lora_alpha=32, lora_dropout=0.1, target_modules=targets, task_type=task))
    elif args.method == "prefix":
        model = get_peft_model(model, PrefixTuningConfig(num_virtual_tokens=args.virtual_tokens, task_type=task))
    return model.to(args.device), decoder, config.vocab_size


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
    return [torch.randint(1000, vocab, (n,)).tolist() for n in lengths]


def train(args, workload):
    model, decoder, vocab = build(args, max(len(t["labels"]) for t in workload["tasks"]))
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    seconds, processor, tokens, padding, loss = [], 0.0, 0, 0, None
    for number, task in enumerate(workload["tasks"]):
        labels = [ids + [task["end"]] for ids in task["labels"]]
        samples = prompts(task, task["train"], args.batch * args.steps, vocab)
        order = torch.randperm(len(samples)).tolist()
        batches = [order[i : i + args.batch] for i in range(0, len(order), args.batch)]
        for step, batch in enumerate([batches[0]] * (args.warmup if number == 0 else 0) + batches):
            wait(args)
            begun, before = time.perf_counter(), time.process_time()
            answers = [labels[i % len(labels)] if decoder else [] for i in batch]
            rows = [samples[i] + answer for i, answer in zip(batch, answers)]
            ids, mask = padded(rows, args.device, left=decoder)
            if decoder:
                wanted = torch.full_like(ids, IGNORE)
                for i, answer in enumerate(answers):
                    wanted[i, -len(answer) :] = ids[i, -len(answer) :]
            else:
                wanted = torch.tensor([i % len(task["labels"]) for i in batch], device=args.device)
            loss = model(input_ids=ids, attention_mask=mask, labels=wanted).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss = loss.item()
            wait(args)
            if number or step >= args.warmup:
                seconds.append(time.perf_counter() - begun)
                processor += time.process_time() - before
                tokens += sum(map(len, rows))
                padding += ids.numel()
    total = sum(seconds)
    return {
        "batch": args.batch, "steps": len(seconds), "trainable": sum(p.numel() for p in trained),
        "examples_per_s": round(len(seconds) * args.batch / total, 3), "tokens_per_s": round(tokens / total, 3),
        "computed_tokens_per_s": round(padding / total, 3),
        "examples_per_processor_s": round(len(seconds) * args.batch / processor, 3), "median_step_s": statistics.median(seconds), "loss": loss,
    }


@torch.no_grad()
def evaluate(args, workload):
    model, decoder, vocab = build(args, max(len(t["labels"]) for t in workload["tasks"]))
    model.eval()
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
            model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=args.longest,
                           min_new_tokens=args.longest, do_sample=False, pad_token_id=0)
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
    workload = json.loads(args.workload.read_text())
    figures = (train if args.what == "train" else evaluate)(args, workload)
    print(json.dumps({
        "program": "peft", "what": args.what, "model": args.model, "method": args.method,
        "workload": args.workload.stem, "device": args.device, "dtype": args.dtype, "threads": torch.get_num_threads(),
        **figures, "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, **on_device(args),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }))


if __name__ == "__main__":
    main()
