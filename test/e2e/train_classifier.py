"""Trains a sequence classifier with peft, as its users do, and prints what each step computed.

usage: train_classifier.py MODEL STEPS FOLDER
STEPS is JSON: for each step a list of [token ids, class]. Saves the adapter as FOLDER/initial and FOLDER/final, and prints a
line of JSON: loss and gradient norm (before clipping) of each step.
"""

import json
import sys

import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification

source, steps, folder = sys.argv[1:]
torch.set_num_threads(1)
torch.manual_seed(1)
base = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32, num_labels=3)
base.config.pad_token_id = 0
config = LoraConfig(
    task_type=TaskType.SEQ_CLS, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"]
)
model = get_peft_model(base, config).train()
for name, parameter in model.named_parameters():
    if "lora_" in name or "modules_to_save" in name:
        torch.nn.init.normal_(parameter, std=0.1)
model.save_pretrained(f"{folder}/initial")
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.1)
log = []
for rows in json.loads(steps):
    longest = max(len(ids) for ids, _ in rows)
    padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows])
    labels = torch.tensor([label for _, label in rows])
    loss = model(input_ids=padded, attention_mask=mask, labels=labels).loss
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    log.append([loss.item(), norm.item()])
model.save_pretrained(f"{folder}/final")
print(json.dumps(log))
