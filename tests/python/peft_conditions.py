"""What PEFT computes of a fixture's samples with an adapter: logits, loss, gradients, and a few steps of AdamW.

    python peft_conditions.py FOLDER FILE

FOLDER is a decoder's fixture (tests/fixtures/llama-tiny) with its samples in `expected.safetensors` and what was set in
`meta.json`; FILE is what gets the conditions, named as there. Its name says which ones: `variants.safetensors` has rank-stabilised
LoRA and DoRA, `prompt.safetensors` prompt tuning. PyTorch in f32, one thread, no dropout; all parameters are stirred, so that none is zero.
"""
import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
meta = json.loads((folder / "meta.json").read_text())
samples = load_file(folder / "expected.safetensors")
lora = {"r": meta["lora"]["rank"], "lora_alpha": meta["lora"]["alpha"], "target_modules": meta["lora"]["targets"]}
CONDITIONS = {
    "variants": {
        "rslora": lambda: LoraConfig(**lora, use_rslora=True, task_type="CAUSAL_LM"),
        "dora": lambda: LoraConfig(**lora, use_dora=True, task_type="CAUSAL_LM"),
    },
    "prompt": {"prompt": lambda: PromptTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM")},
}
torch.set_num_threads(1)

# With it no gradient is so near to nothing that AdamW makes a step of its rounding: in f32 and f64 the same comes out, to 1e-6.
SEED = 8


def named(model):
    """Trained parameters under the names that PEFT saves them with."""
    saved = get_peft_model_state_dict(model)
    by_place = {tensor.data_ptr(): name for name, tensor in saved.items()}
    return {by_place.get(p.data_ptr(), "prompt_embeddings"): p for p in model.parameters() if p.requires_grad}


def compute(model):
    """Logits, zero at padding, and the mean loss over labelled next tokens."""
    mask, labels = samples["attention_mask"], samples["labels"]
    inputs = {"input_ids": samples["input_ids"], "attention_mask": mask}
    if model.active_peft_config.is_prompt_learning:
        # Such a model counts its own positions. What is padded is computed alone.
        rows = [model(input_ids=i[m == 1][None]).logits[0] for i, m in zip(samples["input_ids"], mask)]
        virtual = model.active_peft_config.num_virtual_tokens
        logits = torch.stack([torch.cat([r.new_zeros(mask.shape[1] - len(r) + virtual, r.shape[1]), r[virtual:]]) for r in rows])
    else:
        logits = model(**inputs, position_ids=samples["position_ids"]).logits
    logits = logits * mask[..., None]
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    return logits, loss


figures = {}
for name, config in CONDITIONS[out.stem].items():
    torch.manual_seed(SEED)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), config()).eval()
    parameters = named(model)
    with torch.no_grad():
        for i, p in enumerate(parameters.values()):
            stirred = torch.arange(p.numel(), dtype=torch.float32).mul(17).add(31 * i).remainder(23).div(115).sub(0.1)
            p.add_(stirred.view_as(p))
    adamw = torch.optim.AdamW(parameters.values(), lr=meta["adamw"]["lr"], weight_decay=meta["adamw"]["weight_decay"])
    figures |= {f"{name}.init.{n}": p.detach().clone() for n, p in parameters.items()}
    losses = []
    for step in range(meta["adamw"]["steps"]):
        logits, loss = compute(model)
        adamw.zero_grad()
        loss.backward()
        losses.append(loss.detach())
        if step == 0:
            figures |= {f"{name}.logits": logits.detach().clone(), f"{name}.loss": loss.detach().reshape(1)}
            figures |= {f"{name}.grad.{n}": p.grad.clone() for n, p in parameters.items()}
        torch.nn.utils.clip_grad_norm_(parameters.values(), meta["adamw"]["clip_grad_norm"])
        adamw.step()
    figures |= {f"{name}.after.{n}": p.detach().clone() for n, p in parameters.items()}
    figures[f"{name}.adamw_losses"] = torch.stack(losses)
save_file({n: t.contiguous() for n, t in figures.items()}, out)
