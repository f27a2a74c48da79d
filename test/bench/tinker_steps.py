"""Seconds per training step of servers of Tinker's protocol, and of torch + peft on the same machine, interleaved.

usage: tinker_steps.py CHECKPOINT ROUNDS NAME=MODEL@BASE_URL …
CHECKPOINT: the base as a transformers folder, which torch trains. A step is a pass over a batch and an update of LoRA of rank 8 on all
linears of the decoder blocks. Prints the median of each, and its range.
"""

import os
import random
import statistics
import sys
import time

import numpy as np
import tinker
import torch
from peft import LoraConfig, get_peft_model
from tinker import types
from transformers import AutoModelForCausalLM

RANK, THREADS = 8, len(os.sched_getaffinity(0))
BATCHES = {"4 sequences of 38 tokens": (4, 38), "4 sequences of 145 tokens": (4, 145)}
torch.set_num_threads(THREADS)


def draw(count, length):
    random.seed(1)
    return [[random.randrange(100, 40000) for _ in range(length + 1)] for _ in range(count)]


def step_of_server(model, base_url):
    service = tinker.ServiceClient(base_url=base_url, api_key="tml-none")
    client = service.create_lora_training_client(model, rank=RANK, train_unembed=False).result()

    def step(rows):
        data = [
            types.Datum(
                model_input=types.ModelInput.from_ints(row[:-1]),
                loss_fn_inputs={
                    "target_tokens": np.array(row[1:], dtype=np.int64),
                    "weights": np.ones(len(row) - 1, dtype=np.float32),
                },
            )
            for row in rows
        ]
        passed = client.forward_backward(data, "cross_entropy")
        updated = client.optim_step(types.AdamParams(learning_rate=1e-4))
        passed.result(), updated.result()

    return step


def step_of_torch(checkpoint):
    base = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    config = LoraConfig(r=RANK, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4)

    def step(rows):
        ids = torch.tensor(rows)
        logits = model(input_ids=ids[:, :-1]).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


checkpoint, rounds, *servers = sys.argv[1:]
steps = {"torch + peft": step_of_torch(checkpoint)}
for server in servers:
    name, where = server.split("=", 1)
    steps[name] = step_of_server(*where.split("@", 1))
for title, shape in BATCHES.items():
    rows = draw(*shape)
    seconds = {name: [] for name in steps}
    for turn in range(int(rounds) + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step(rows)
            if turn > 0:  # the first one starts processes and compiles
                seconds[name].append(time.perf_counter() - start)
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{title} ({rounds} steps each, {THREADS} threads, load {load})")
    for name, all in seconds.items():
        print(f"  {name}: {statistics.median(all):.2f} s ({min(all):.2f} to {max(all):.2f})", flush=True)
