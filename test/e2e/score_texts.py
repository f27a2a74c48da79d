"""Opens a sequence classifier with peft, and scores texts with it.

usage: score_texts.py MODEL ADAPTER TEXTS
TEXTS is JSON. Prints a line of JSON: the scores of each text.
"""

import json
import sys

import torch
from peft import PeftConfig, PeftModel
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification, AutoTokenizer

source, adapter, texts = sys.argv[1:]
torch.set_num_threads(1)
assert PeftConfig.from_pretrained(adapter).task_type == "SEQ_CLS"
with safe_open(f"{adapter}/adapter_model.safetensors", "pt") as tensors:
    labels = tensors.get_slice("base_model.model.score.weight").get_shape()[0]
base = AutoModelForSequenceClassification.from_pretrained(
    source, dtype=torch.float32, num_labels=labels
)
base.config.pad_token_id = 0
model = PeftModel.from_pretrained(base, adapter).eval()
tokenizer = AutoTokenizer.from_pretrained(source)
scores = []
for text in json.loads(texts):
    with torch.no_grad():
        ids = tokenizer(text, return_tensors="pt").input_ids
        scores.append(model(input_ids=ids).logits[0].tolist())
print(json.dumps(scores))
