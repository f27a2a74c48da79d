"""Gradients of Tinker's losses by torch's autograd and peft, with the formulas of Tinker's documentation.

usage: token_losses.py MODEL SETTINGS FOLDER
SETTINGS is JSON: data ({ids, targets, inputs: {name: numbers}}), losses ({name: parameters}). Saves the adapter, whose B is random,
to FOLDER/initial, and the gradients of each loss to FOLDER/LOSS.safetensors. Prints a line of JSON: the loss of each, and the
log-probabilities of the targets of each datum.
"""

import json
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

source, settings, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
torch.manual_seed(3)
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]


def cross_entropy(logprobs, inputs, parameters):
    return -(logprobs * inputs["weights"]).sum()


def importance_sampling(logprobs, inputs, parameters):
    return -(torch.exp(logprobs - inputs["logprobs"]) * inputs["advantages"]).sum()


def clipped(ratio, parameters):
    return torch.clamp(ratio, parameters["clip_low_threshold"], parameters["clip_high_threshold"])


def ppo(logprobs, inputs, parameters):
    ratio = torch.exp(logprobs - inputs["logprobs"])
    plain, bounded = ratio * inputs["advantages"], clipped(ratio, parameters) * inputs["advantages"]
    return -torch.min(plain, bounded).sum()


def cispo(logprobs, inputs, parameters):
    ratio = clipped(torch.exp(logprobs - inputs["logprobs"]), parameters)
    return -(ratio.detach() * logprobs * inputs["advantages"]).sum()


def dro(logprobs, inputs, parameters):
    quadratic = (logprobs - inputs["logprobs"]) ** 2
    return -(logprobs * inputs["advantages"] - 0.5 * parameters["beta"] * quadratic).sum()


def gspo(logprobs, inputs, parameters):
    mask = inputs["sequence_ratio_mask"]
    ratio = torch.exp(((logprobs - inputs["logprobs"]) * mask).sum() / mask.sum())
    plain, bounded = ratio * inputs["advantages"], clipped(ratio, parameters) * inputs["advantages"]
    return -(torch.min(plain, bounded) * mask).sum()


LOSSES = {loss.__name__: loss for loss in (cross_entropy, importance_sampling, ppo, cispo, dro, gspo)}

model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=32, target_modules=LINEARS))
trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
for name, parameter in trained.items():
    if "lora_B" in name:
        torch.nn.init.normal_(parameter, std=0.02)
model.save_pretrained(f"{folder}/initial")


def run(name, parameters):
    model.zero_grad()
    total, scored = 0.0, []
    for datum in settings["data"]:
        logits = model(torch.tensor([datum["ids"]])).logits[0].float()
        targets = torch.tensor(datum["targets"])
        logprobs = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
        inputs = {key: torch.tensor(values) for key, values in datum["inputs"].items()}
        loss = LOSSES[name](logprobs, inputs, parameters)
        loss.backward()
        total += loss.item()
        scored.append(logprobs.tolist())
    save_file({key.replace(".default", ""): p.grad.clone() for key, p in trained.items()}, f"{folder}/{name}.safetensors")
    return {"loss": total, "logprobs": scored}


print(json.dumps({name: run(name, parameters) for name, parameters in settings["losses"].items()}))
