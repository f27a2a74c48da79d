"""Trains adapters on pairs with TRL's DPOTrainer and peft, one for each preference.

usage: train_pairs.py MODEL SETTINGS FOLDER
SETTINGS is JSON: rows ({prompt, chosen, rejected}: token ids), pairs (of a step), rate, start (base or continued), preferences ({loss,
beta, labelSmoothing}). For each loss, saves the adapter before the first step to FOLDER/LOSS/initial, after the last one to
FOLDER/LOSS/final, and the gradients of the first step to FOLDER/LOSS/grads.safetensors. A continued adapter has a random B, and its
frozen copy is the reference. Prints a line of JSON: for each loss, the losses and the metrics of each step.
"""

import json
import sys

import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

import trl_peer

source, settings, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
METRICS = [f"{part}/{side}" for part in ("rewards", "logps") for side in ("chosen", "rejected")]
METRICS += ["rewards/margins", "rewards/accuracies"]
rows = [{f"{part}_ids": row[part] for part in ("prompt", "chosen", "rejected")} for row in settings["rows"]]


class Pairs(trl_peer.KeepsLosses, DPOTrainer):
    """Takes token ids as they are, in their order."""

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset

    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def train(preference):
    out = f"{folder}/{preference['loss']}"
    model = trl_peer.begin(source, settings["start"] == "continued")
    arguments = DPOConfig(
        **trl_peer.steps_of(out, settings["rate"]),
        per_device_train_batch_size=settings["pairs"],
        beta=preference["beta"],
        loss_type=[preference["loss"]],
        label_smoothing=preference["labelSmoothing"],
        remove_unused_columns=False,
    )
    trainer = Pairs(**model, args=arguments, train_dataset=Dataset.from_list(rows))
    trl_peer.train(trainer, out, lambda: trainer.data_collator(rows[: settings["pairs"]]))
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    metrics = [{name: step[name] for name in METRICS} for step in steps]
    return {"losses": list(trainer.losses), "metrics": metrics}


print(json.dumps({preference["loss"]: train(preference) for preference in settings["preferences"]}))
