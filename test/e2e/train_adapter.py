"""Trains an adapter with peft, or measures the loss of one.

usage: train_adapter.py MODEL SETTINGS FOLDER
SETTINGS is JSON: config (arguments of LoraConfig), batches (rows of token ids), labels (of the same form), rate. Saves the adapter
before the first step to FOLDER/initial, after the last one to FOLDER/final, and all trained tensors to
FOLDER/trained.safetensors. Prints a line of JSON: the loss of each step.

usage: train_adapter.py MODEL SETTINGS --loss ADAPTER
Prints the loss of each batch under the adapter in a folder.
"""

import json
import re
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

source, settings, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[-1]
torch.set_num_threads(1)
torch.manual_seed(1)
base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
batches = [
    {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}
    for ids, labels in zip(settings["batches"], settings["labels"])
]

if sys.argv[3] == "--loss":
    model = PeftModel.from_pretrained(base, folder).eval()
    with torch.no_grad():
        print(json.dumps([model(**batch).loss.item() for batch in batches]))
    sys.exit()

config = LoraConfig(task_type="CAUSAL_LM", **settings["config"])
is_pissa = settings["config"].get("init_lora_weights") == "pissa"
model = get_peft_model(base, config).train()
if not is_pissa:
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # a B of zeros has hardly any gradient for A
            torch.nn.init.normal_(parameter, std=0.05)
if is_pissa:  # as peft's documentation says: the initial adapter is saved as a plain one
    model.peft_config["default"].init_lora_weights = True
model.save_pretrained(f"{folder}/initial")
# peft 0.21 gives a tied head parameters of its own, in the memory of the embedding's. An optimizer would step twice, so the
# gradients are added here, as for a tied table.
tied = []
if config.ensure_weight_tying and "embed_tokens" in config.target_modules:
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    tied.append((embedding.lora_embedding_A["default"], head.lora_B["default"].weight))
    tied.append((embedding.lora_embedding_B["default"], head.lora_A["default"].weight))
    assert all(own.data_ptr() == of_head.data_ptr() for own, of_head in tied)
repeated = {id(of_head) for _, of_head in tied}
named = [(n, p) for n, p in model.named_parameters() if p.requires_grad and id(p) not in repeated]
trained = [parameter for _, parameter in named]
optimizer = torch.optim.AdamW(trained, lr=settings["rate"], weight_decay=0.0)
losses = []
for batch in batches:
    loss = model(**batch).loss
    losses.append(loss.item())
    model.zero_grad()
    loss.backward()
    for own, of_head in tied:
        own.grad += of_head.grad.t()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
conversion = {"path_initial_model_for_weight_conversion": f"{folder}/initial"} if is_pissa else {}
tensors = {
    re.sub(r"(lora_magnitude_vector)\.weight|\.modules_to_save", r"\1", name.replace(".default", "")): p.detach()
    for name, p in named
}
save_file(tensors, f"{folder}/trained.safetensors")
model.save_pretrained(f"{folder}/final", **conversion)
print(json.dumps(losses))
