"""Reference figures of prefix tuning on a BERT classifier, as transformers and PEFT compute them.

    python bert_prefix.py FIXTURE

FIXTURE is a folder with a model and `expected.safetensors`, whose batch is used. Writes `prefix.safetensors`: parameters
before (`init.`), their gradient (`grad.`) and after 4 AdamW steps (`after.`), logits and losses. Dropout is off.
"""

import json
import sys
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

VIRTUAL_TOKENS = 6

folder = Path(sys.argv[1])
torch.set_num_threads(1)
torch.manual_seed(0)
data = load_file(folder / "expected.safetensors")
hyper = json.loads((folder / "meta.json").read_text())["adamw"]
batch = {name: data[name] for name in ["input_ids", "attention_mask", "labels"]}

bare = transformers.BertForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
config = peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=VIRTUAL_TOKENS)
model = peft.get_peft_model(bare, config).eval()
trained = {name: p for name, p in model.named_parameters() if p.requires_grad}


def ours(name):
    if name.startswith("prompt_encoder"):
        return "prompt_embeddings"
    return name.replace(".modules_to_save.default", "")


def snapshot(kind, of):
    return {f"{kind}.{ours(name)}": of(p).detach().clone() for name, p in trained.items()}


out = snapshot("init", lambda p: p)
optimiser = torch.optim.AdamW(trained.values(), lr=hyper["lr"], weight_decay=hyper["weight_decay"])
losses = []
for step in range(hyper["steps"]):
    result = model(**batch)
    optimiser.zero_grad()
    result.loss.backward()
    if step == 0:
        out["logits"] = result.logits.detach()
        out |= snapshot("grad", lambda p: p.grad)
    losses.append(result.loss.item())
    torch.nn.utils.clip_grad_norm_(trained.values(), hyper["clip_grad_norm"])
    optimiser.step()
out |= snapshot("after", lambda p: p)
out["losses"] = torch.tensor(losses)
save_file({name: tensor.contiguous() for name, tensor in out.items()}, folder / "prefix.safetensors")
