"""Logits of a tiny model under adapters, as transformers and PEFT compute them.

peft_logits.py ORDER.json, where the order names a model folder, its family, its task (`CAUSAL_LM` or `SEQ_CLS`), token ids of some texts,
adapters to load, adapters to make (random, written where the order says), adapters to write alone, and the file for the results:
one tensor per adapter that isn't only written, and text, [tokens, vocab] or [labels]. Missing are those of prefixes for which
this release of transformers has no place.
"""

import json
import sys

import torch
from chatglm import ChatGLM
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

CLASSES = {"CAUSAL_LM": AutoModelForCausalLM, "SEQ_CLS": AutoModelForSequenceClassification}
KINDS = {"ia3": IA3Config, "lora": LoraConfig, "prefix": PrefixTuningConfig, "prompt": PromptTuningConfig}


def base(order):
    if order["family"] == "chatglm":
        return ChatGLM.of(order["model"])
    return CLASSES[order["task"]].from_pretrained(order["model"], torch_dtype=torch.float32).eval()


def written(order, spec):
    """A fresh adapter whose numbers matter: PEFT starts LoRA's B at zero."""
    model = get_peft_model(base(order), KINDS[spec["kind"]](task_type=order["task"], **spec["config"]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    model.save_pretrained(spec["folder"])


def made(order, spec):
    written(order, spec)
    return PeftModel.from_pretrained(base(order), spec["folder"])


def logits(model, ids):
    """None: transformers lets no prefix into the model's attention."""
    try:
        logits = model.eval()(input_ids=torch.tensor([ids])).logits[0]
        # Those of virtual tokens come first.
        return (logits[-len(ids):] if logits.dim() == 2 else logits).contiguous()
    except ValueError as error:
        if "does not support past key values" in str(error):
            return None
        raise


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    with open(sys.argv[1]) as file:
        order = json.load(file)
    models = {"base": base(order)}
    for name, folder in order["load"].items():
        models[name] = PeftModel.from_pretrained(base(order), folder)
    for spec in order.get("write", {}).values():
        written(order, spec)
    for name, spec in order["make"].items():
        models[name] = made(order, spec)
    results = {}
    with torch.no_grad():
        for name, model in models.items():
            for i, ids in enumerate(order["texts"]):
                results[f"{name}.{i}"] = logits(model, ids)
    results = {name: tensor for name, tensor in results.items() if tensor is not None}
    save_file(results, order["results"])


main()
