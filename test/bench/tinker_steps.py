"""Time per training step of servers of Tinker's protocol, and of torch + peft on the same machine, interleaved.

usage: tinker_steps.py CHECKPOINT ROUNDS NAME=MODEL@BASE_URL@PID … skyrl=PYTHON
CHECKPOINT: the base as a transformers folder, which torch trains. PID: the server. PYTHON has skyrl[tinker,jax]. A step is a pass over a batch and an update of LoRA
of rank 8 on all linears of the decoder blocks. Prints medians and ranges of seconds, and of CPU seconds, which other work on the
machine affects less. Linux only.
"""

import json
import os
import random
import statistics
import subprocess
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


def cpu_seconds(root):
    """CPU seconds of a process and its descendants that live."""
    parents, ticks = {}, {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has just ended
        parents[int(entry)], ticks[int(entry)] = int(fields[1]), int(fields[11]) + int(fields[12])

    def belongs(pid):
        while pid and pid != root:
            pid = parents.get(pid)
        return pid == root

    return sum(ticks[pid] for pid in ticks if belongs(pid)) / os.sysconf("SC_CLK_TCK")


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


def step_of_skyrl(python, checkpoint):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "skyrl_steps.py")
    process = subprocess.Popen(
        [python, script, checkpoint, str(RANK)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def wait_for(word):
        for line in process.stdout:
            if line.strip() == word:
                return
        raise SystemExit("skyrl has ended")

    def step(rows):
        print(json.dumps(rows), file=process.stdin, flush=True)
        wait_for("done")

    wait_for("ready")
    return step, process.pid


def show(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


checkpoint, rounds, *servers = sys.argv[1:]
steps = {"torch + peft": (step_of_torch(checkpoint), os.getpid())}
for server in servers:
    name, where = server.split("=", 1)
    if name == "skyrl":
        steps[name] = step_of_skyrl(where, checkpoint)
        continue
    model, base_url, pid = where.split("@")
    steps[name] = (step_of_server(model, base_url), int(pid))
for title, shape in BATCHES.items():
    rows = draw(*shape)
    measured = {name: [] for name in steps}
    for turn in range(int(rounds) + 1):
        for name, (step, pid) in steps.items():
            before, start = cpu_seconds(pid), time.perf_counter()
            step(rows)
            if turn > 0:  # the first one starts processes and compiles
                measured[name].append((time.perf_counter() - start, cpu_seconds(pid) - before))
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{title} ({rounds} steps each, {THREADS} threads, load {load})")
    for name, pairs in measured.items():
        seconds, cpu = zip(*pairs)
        print(f"  {name}: {show(seconds)} s, {show(cpu)} CPU s", flush=True)
