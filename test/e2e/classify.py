"""Makes a sequence classifier with peft, saves it, and scores prompts with it.

usage: classify.py MODEL KIND PROMPTS FOLDER
KIND is lora, loha, lokr or lokr-both. PROMPTS is JSON, arrays of token ids. Prints a line of JSON: the scores of each prompt.
"""

import json
import sys

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification

source, kind, prompts, folder = sys.argv[1:]
torch.set_num_threads(1)
torch.manual_seed(1)
base = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32, num_labels=4)
base.config.pad_token_id = 0
common = dict(task_type=TaskType.SEQ_CLS, r=4, target_modules=["q_proj", "v_proj", "down_proj"])
low = {**common, "r": 2}
config = {
    "lora": lambda: LoraConfig(lora_alpha=8, **common),
    "loha": lambda: LoHaConfig(alpha=8, **common),
    "lokr": lambda: LoKrConfig(alpha=4, rank_pattern={"v_proj": 16}, **low),
    "lokr-both": lambda: LoKrConfig(alpha=4, decompose_both=True, **low),
}[kind]()
model = get_peft_model(base, config).eval()
for name, parameter in model.named_parameters():
    if any(part in name for part in ("lora_", "hada_", "lokr_", "modules_to_save")):
        torch.nn.init.normal_(parameter, std=0.2)
model.save_pretrained(folder)
scores = []
for ids in json.loads(prompts):
    with torch.no_grad():
        scores.append(model(torch.tensor([ids])).logits[0].tolist())
print(json.dumps(scores))
