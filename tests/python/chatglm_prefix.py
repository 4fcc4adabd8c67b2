"""Reference figures of P-Tuning v2 without projection on a ChatGLM2.

    python chatglm_prefix.py FIXTURE

FIXTURE is a folder with a model and `expected.safetensors`, whose batch is used. The publisher's code isn't ours to pass on,
so the model is written down here once more, in plain PyTorch; it must give the fixture's base logits before anything is
computed with it. Writes `prefix.safetensors`: the table of keys and values before (`init.`), its gradient (`grad.`) and
after the AdamW steps of `meta.json` (`after.`), logits, loss and losses. Dropout is off.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

VIRTUAL_TOKENS = 6
THETA = 10_000.0


def rms_norm(x, weight, eps):
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def rotate(x, positions):
    """Turns neighbouring pairs in the first half of every head; x is [batch, tokens, heads, head_dim]."""
    half = x.shape[-1] // 2
    frequencies = THETA ** (-torch.arange(0, half, 2) / half)
    angles = positions[:, :, None, None] * frequencies
    pairs = x[..., :half].unflatten(-1, (-1, 2))
    a, b, cos, sin = pairs[..., 0], pairs[..., 1], angles.cos(), angles.sin()
    turned = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    return torch.cat([turned, x[..., half:]], -1)


def logits(weights, config, batch, prefix=None, delta=lambda path, x: 0.0):
    """[batch, tokens, vocab], with rows of padding set to zero.

    prefix: [virtual tokens, layers * 2 * key/value width]. delta: what an adapter adds to a linear layer's output.
    """
    heads, groups, width = (config[k] for k in ["num_attention_heads", "multi_query_group_num", "kv_channels"])
    eps, mask, positions = config["layernorm_epsilon"], batch["attention_mask"], batch["position_ids"]
    samples, tokens = mask.shape
    visible = torch.ones(tokens, tokens).tril().bool() & mask[:, None, :].bool()
    # A row of padding sees itself, so that its softmax is defined.
    visible = visible | torch.eye(tokens).bool()

    def linear(path, x):
        y = x @ weights[f"{path}.weight"].T + delta(path, x)
        return y + weights[f"{path}.bias"] if f"{path}.bias" in weights else y

    x = weights["transformer.embedding.word_embeddings.weight"][batch["input_ids"]]
    for i in range(config["num_layers"]):
        at = f"transformer.encoder.layers.{i}"
        qkv = linear(f"{at}.self_attention.query_key_value", rms_norm(x, weights[f"{at}.input_layernorm.weight"], eps))
        qkv = qkv.unflatten(-1, (-1, width))
        q, k, v = qkv.split([heads, groups, groups], 2)
        q, k, seen = rotate(q, positions), rotate(k, positions), visible
        if prefix is not None:
            own = prefix.unflatten(-1, (config["num_layers"], 2, groups, width))[:, i]
            k, v = (torch.cat([p.expand(samples, -1, -1, -1), kv], 1) for p, kv in zip(own.unbind(1), (k, v)))
            seen = F.pad(visible, (len(prefix), 0), value=True)
        k, v = (kv.repeat_interleave(heads // groups, 2) for kv in (k, v))
        scores = torch.einsum("bthd,bshd->bhts", q, k) / width**0.5
        attention = scores.masked_fill(~seen[:, None], float("-inf")).softmax(-1)
        x = x + linear(f"{at}.self_attention.dense", torch.einsum("bhts,bshd->bthd", attention, v).flatten(2))
        h = rms_norm(x, weights[f"{at}.post_attention_layernorm.weight"], eps)
        gate, up = linear(f"{at}.mlp.dense_h_to_4h", h).chunk(2, -1)
        x = x + linear(f"{at}.mlp.dense_4h_to_h", F.silu(gate) * up)
    x = rms_norm(x, weights["transformer.encoder.final_layernorm.weight"], eps)
    return (x @ weights["transformer.output_layer.weight"].T) * mask[:, :, None]


def loss_of(logits, labels):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


def train(parameters, compute, labels, hyper):
    """Figures of a condition, and of its parameters before and after a few steps; `compute` gives the batch's logits."""
    def snapshot(kind, of):
        return {f"{kind}.{name}": of(p).detach().clone() for name, p in parameters.items()}

    out = snapshot("init", lambda p: p)
    settings = {k: hyper[k] for k in ["lr", "betas", "eps", "weight_decay"] if k in hyper}
    optimiser = torch.optim.AdamW(parameters.values(), **settings)
    losses = []
    for step in range(hyper["steps"]):
        result = compute()
        loss = loss_of(result, labels)
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            out |= {"logits": result.detach(), "loss": loss.detach().reshape(1)}
            out |= snapshot("grad", lambda p: p.grad)
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(parameters.values(), hyper["clip_grad_norm"])
        optimiser.step()
    out |= snapshot("after", lambda p: p)
    return out | {"adamw_losses": torch.tensor(losses)}


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batch, weights = load_file(folder / "expected.safetensors"), load_file(folder / "model.safetensors")
    config, meta = (json.loads((folder / name).read_text()) for name in ["config.json", "meta.json"])
    torch.testing.assert_close(logits(weights, config, batch), batch["base.logits"], rtol=0, atol=1e-4)
    columns = config["num_layers"] * 2 * config["multi_query_group_num"] * config["kv_channels"]
    table = torch.randn(VIRTUAL_TOKENS, columns).requires_grad_()
    compute = lambda: logits(weights, config, batch, table)
    figures = train({"prompt_embeddings": table}, compute, batch["labels"], meta["adamw"])
    save_file({name: tensor.contiguous() for name, tensor in figures.items()}, folder / "prefix.safetensors")


if __name__ == "__main__":
    main()
