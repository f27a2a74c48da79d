"""Trains with Tinker's own client, twice the same. It notices nothing of a trainer or a server that is killed and started again.

usage: tinker_survivor.py BASE_URL KEY BASE_MODEL TOKENS STEPS RANK; the last three in JSON
Prints the number of each step that is done, from 0 to 2 * STEPS - 1, and at the end one line of JSON: what each training computed.
"""

import json
import sys
from collections import deque

import numpy as np
import tinker
from tinker import types

base_url, key, base_model = sys.argv[1:4]
TOKENS, STEPS, RANK = (json.loads(text) for text in sys.argv[4:])
IN_FLIGHT = 4
ADAM = types.AdamParams(learning_rate=1e-3, eps=1e-8)


def datum(first, last):
    tokens = TOKENS[first:last]
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": np.array(tokens[1:], dtype=np.int64),
            "weights": np.ones(len(tokens) - 1, dtype=np.float32),
        },
    )


service = tinker.ServiceClient(base_url=base_url, api_key=key)


def train(first):
    client = service.create_lora_training_client(base_model=base_model, rank=RANK, seed=7).result()
    sampler = client.save_weights_and_get_sampling_client().result()
    losses, norms, waiting = [], [], deque()

    def finish(step, passed, updated):
        losses.append(passed.result().metrics["loss:sum"])
        norms.append(updated.result().metrics["grad_norm:mean"])
        print(first + step, flush=True)

    for step in range(STEPS):
        data = [datum(step % 4, len(TOKENS)), datum(0, len(TOKENS) - step % 3)]
        waiting.append((step, client.forward_backward(data, "cross_entropy"), client.optim_step(ADAM)))
        if len(waiting) > IN_FLIGHT:
            finish(*waiting.popleft())
    while waiting:
        finish(*waiting.popleft())
    prompt = types.ModelInput.from_ints(TOKENS[:3])
    greedy = types.SamplingParams(max_tokens=4, temperature=0.0)
    samples = list(sampler.sample(prompt, 1, greedy).result().sequences[0].tokens)
    path = client.save_weights_for_sampler("final").result().path
    return {"losses": losses, "norms": norms, "samples": samples, "path": path}


print(json.dumps([train(0), train(STEPS)]))
