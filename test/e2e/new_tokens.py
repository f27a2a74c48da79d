"""Trains nothing: makes adapters with peft after resizing the vocabulary, and computes their logits.

usage: new_tokens.py MODEL CASES FOLDER
CASES is JSON: {name: {"size": tokens, "config": arguments of LoraConfig}}. Each adapter gets random weights and is saved to
FOLDER/name. It is opened again as a user would: the base is loaded and resized, then peft opens the folder. `cases.safetensors`
beside its files has `input_ids` [2, 12] and `logits` [2, 12, tokens].
"""

import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

source, cases, folder = sys.argv[1:]
torch.set_num_threads(1)


def resized(size):
    torch.manual_seed(size)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    model.resize_token_embeddings(size, mean_resizing=False)
    return model


for name, case in json.loads(cases).items():
    size = case["size"]
    base = resized(size)
    before = AutoModelForCausalLM.from_pretrained(source).config.vocab_size
    with torch.no_grad():
        for table in (base.get_input_embeddings(), base.get_output_embeddings()):
            table.weight[before:] = torch.randn(table.weight[before:].shape) / 4
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **case["config"]))
    for key, parameter in model.named_parameters():
        if "lora_" in key or "modules_to_save" in key or "trainable_tokens_delta" in key:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(f"{folder}/{name}")

    opened = PeftModel.from_pretrained(resized(size), f"{folder}/{name}").eval()
    ids = torch.randint(0, min(size, before), (2, 12))
    new = list(range(before, size))
    for row, column in ((0, 3), (0, 9), (1, 0), (1, 5), (1, 6)):
        if new:
            ids[row, column] = new[(row + column) % len(new)]
    with torch.no_grad():
        logits = opened(ids).logits
        assert logits.shape[-1] == size
        difference = (logits - model.eval()(ids).logits).abs().max()
    assert difference < 1e-4, f"{name}: opened again, it differs by {difference}"
    save_file({"input_ids": ids, "logits": logits.contiguous()}, f"{folder}/{name}/cases.safetensors")
