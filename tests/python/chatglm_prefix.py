"""Reference figures of P-Tuning v2 without projection on a ChatGLM2.

    python chatglm_prefix.py FIXTURE

FIXTURE is a folder with a model and `expected.safetensors`, whose batch is used. Writes `prefix.safetensors`: the table of keys
and values before (`init.`), its gradient (`grad.`) and after the AdamW steps of `meta.json` (`after.`), logits, loss and
losses. Dropout is off.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from chatglm import ChatGLM
from safetensors.torch import load_file, save_file
from transformers import DynamicCache

VIRTUAL_TOKENS = 6

folder = Path(sys.argv[1])
torch.set_num_threads(1)
data = load_file(folder / "expected.safetensors")
hyper = json.loads((folder / "meta.json").read_text())["adamw"]
batch = {name: data[name] for name in ["input_ids", "attention_mask", "position_ids"]}

model = ChatGLM.of(folder)
torch.testing.assert_close(model(**batch).logits, data["base.logits"], rtol=0, atol=1e-4)
config = model.config
heads = (config.num_layers, 2, config.multi_query_group_num, config.kv_channels)
seeded = torch.Generator().manual_seed(0)
table = torch.randn(VIRTUAL_TOKENS, torch.Size(heads).numel(), generator=seeded).requires_grad_()


def logits():
    """As the reference's PrefixEncoder lays the table out: layer, then keys and values, then head."""
    cache = DynamicCache()
    for i, layer in enumerate(table.unflatten(-1, heads).unbind(1)):
        keys, values = (kv.transpose(0, 1).expand(len(batch["input_ids"]), -1, -1, -1) for kv in layer.unbind(1))
        cache.update(keys, values, i)
    return model(**batch, past_key_values=cache).logits


out = {"init.prompt_embeddings": table.detach().clone()}
settings = {key: hyper[key] for key in ["lr", "betas", "eps", "weight_decay"] if key in hyper}
optimiser = torch.optim.AdamW([table], **settings)
losses = []
for step in range(hyper["steps"]):
    result = logits()
    loss = F.cross_entropy(result[:, :-1].flatten(0, 1), data["labels"][:, 1:].flatten(), ignore_index=-100)
    optimiser.zero_grad()
    loss.backward()
    if step == 0:
        out |= {"logits": result.detach(), "loss": loss.detach().reshape(1)}
        out["grad.prompt_embeddings"] = table.grad.clone()
    losses.append(loss.item())
    torch.nn.utils.clip_grad_norm_([table], hyper["clip_grad_norm"])
    optimiser.step()
out["after.prompt_embeddings"] = table.detach().clone()
out["adamw_losses"] = torch.tensor(losses)
save_file({name: tensor.contiguous() for name, tensor in out.items()}, folder / "prefix.safetensors")
