"""ChatGLM2 in plain PyTorch, written down from its equations: the publisher's own code isn't ours to pass on.

Modules have the published names, so that PEFT finds them and weights load by name. Whoever compares something with it checks
first that it gives a fixture's base logits, which the publisher's code computed.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput

THETA = 10_000.0


class ChatGLMConfig(PretrainedConfig):
    model_type = "chatglm"


def rotate(x, positions):
    """Turns neighbouring pairs in the first half of every head; x is [batch, tokens, heads, head_dim]."""
    half = x.shape[-1] // 2
    frequencies = THETA ** (-torch.arange(0, half, 2) / half)
    angles = positions[:, :, None, None] * frequencies
    pairs = x[..., :half].unflatten(-1, (-1, 2))
    a, b, cos, sin = pairs[..., 0], pairs[..., 1], angles.cos(), angles.sin()
    turned = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    return torch.cat([turned, x[..., half:]], -1)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.groups, self.width = c.num_attention_heads, c.multi_query_group_num, c.kv_channels
        queries = self.heads * self.width
        self.input_layernorm = nn.RMSNorm(c.hidden_size, c.layernorm_epsilon)
        self.post_attention_layernorm = nn.RMSNorm(c.hidden_size, c.layernorm_epsilon)
        self.self_attention = nn.ModuleDict({
            "query_key_value": nn.Linear(c.hidden_size, queries + 2 * self.groups * self.width, bias=c.add_qkv_bias),
            "dense": nn.Linear(queries, c.hidden_size, bias=False),
        })
        self.mlp = nn.ModuleDict({
            "dense_h_to_4h": nn.Linear(c.hidden_size, 2 * c.ffn_hidden_size, bias=False),
            "dense_4h_to_h": nn.Linear(c.ffn_hidden_size, c.hidden_size, bias=False),
        })

    def forward(self, x, positions, visible, prefix):
        """prefix: keys and values, [batch, groups, virtual tokens, head_dim] each, or None."""
        qkv = self.self_attention["query_key_value"](self.input_layernorm(x)).unflatten(-1, (-1, self.width))
        q, k, v = qkv.split([self.heads, self.groups, self.groups], 2)
        q, k = rotate(q, positions), rotate(k, positions)
        if prefix is not None:
            k, v = (torch.cat([p.transpose(1, 2), kv], 1) for p, kv in zip(prefix, (k, v)))
            visible = F.pad(visible, (prefix[0].shape[2], 0), value=True)
        k, v = (kv.repeat_interleave(self.heads // self.groups, 2) for kv in (k, v))
        scores = torch.einsum("bthd,bshd->bhts", q, k) / self.width**0.5
        attention = scores.masked_fill(~visible[:, None], float("-inf")).softmax(-1)
        x = x + self.self_attention["dense"](torch.einsum("bhts,bshd->bthd", attention, v).flatten(2))
        gate, up = self.mlp["dense_h_to_4h"](self.post_attention_layernorm(x)).chunk(2, -1)
        return x + self.mlp["dense_4h_to_h"](F.silu(gate) * up)


class ChatGLM(PreTrainedModel, GenerationMixin):
    config_class = ChatGLMConfig

    def __init__(self, config):
        super().__init__(config)
        encoder = nn.ModuleDict({
            "layers": nn.ModuleList(Layer(config) for _ in range(config.num_layers)),
            "final_layernorm": nn.RMSNorm(config.hidden_size, config.layernorm_epsilon),
        })
        self.transformer = nn.ModuleDict({
            "embedding": nn.ModuleDict({"word_embeddings": nn.Embedding(config.padded_vocab_size, config.hidden_size)}),
            "encoder": encoder,
            "output_layer": nn.Linear(config.hidden_size, config.padded_vocab_size, bias=False),
        })

    @classmethod
    def of(cls, folder):
        """A published model with `model.safetensors`, its own weights frozen."""
        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text())
        config["vocab_size"] = config["padded_vocab_size"]
        model = cls(ChatGLMConfig(**{k: v for k, v in config.items() if k != "model_type"}))
        weights = load_file(folder / "model.safetensors")
        model.load_state_dict({k: v for k, v in weights.items() if not k.endswith("inv_freq")})
        return model.requires_grad_(False).eval()

    def forward(self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, **_):
        """Rows of padding are set to zero. `past_key_values` is a prefix, a `transformers.Cache`; positions don't count it."""
        samples, tokens = input_ids.shape
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask[:, -tokens:]
        positions = torch.arange(tokens).expand(samples, -1) if position_ids is None else position_ids
        visible = torch.ones(tokens, tokens).tril().bool() & mask[:, None, :].bool()
        # A row of padding sees itself, so that its softmax is defined.
        visible = visible | torch.eye(tokens).bool()
        x = self.transformer["embedding"]["word_embeddings"](input_ids)
        for i, layer in enumerate(self.transformer["encoder"]["layers"]):
            kept = past_key_values and past_key_values.layers[i]
            x = layer(x, positions, visible, (kept.keys, kept.values) if kept else None)
        logits = self.transformer["output_layer"](self.transformer["encoder"]["final_layernorm"](x))
        return CausalLMOutput(logits=logits * mask[:, :, None])
