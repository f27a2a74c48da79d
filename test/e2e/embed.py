"""Embeddings by transformers and peft: the hidden states behind the last norm, pooled and scaled to length 1.

usage: embed.py MODEL PROMPTS [ADAPTER …]
PROMPTS is JSON, arrays of token ids. Prints a line of JSON: the vectors by model name ("base", or the adapter's folder),
pooling and prompt.
"""

import json
import os
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

source, prompts, *adapters = sys.argv[1:]
torch.set_num_threads(1)
base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()


def embed(model):
    means, lasts = [], []
    for ids in json.loads(prompts):
        with torch.no_grad():
            output = model(torch.tensor([ids]), output_hidden_states=True)
        hidden = output.hidden_states[-1][0]
        means.append(torch.nn.functional.normalize(hidden.mean(0), dim=0).tolist())
        lasts.append(torch.nn.functional.normalize(hidden[-1], dim=0).tolist())
    return {"mean": means, "last": lasts}


result = {"base": embed(base)}
for folder in adapters:
    adapted = PeftModel.from_pretrained(base, folder).eval()
    result[os.path.basename(folder)] = embed(adapted)
    base = adapted.unload()
print(json.dumps(result))
