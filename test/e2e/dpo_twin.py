"""DPO over Tinker's protocol next to DPO in torch, from the same adapter on the same base.

usage: dpo_twin.py start BASE_URL         creates a model and saves it; prints its path as JSON
       dpo_twin.py train BASE_URL PATH CHECKPOINT ADAPTER
CHECKPOINT: the served base as a transformers folder. ADAPTER: the saved model as a PEFT folder. Prints one line of JSON: the losses
and the norms of the gradients at each step, of both.
"""

import json
import random
import sys

import numpy as np
import tinker
import torch
from tinker import types
from tinker_cookbook.preference.train_dpo import compute_dpo_loss

STEPS, PAIRS, BETA, RATE = 5, 3, 0.1, 1e-3
BETAS, EPSILON = (0.9, 0.95), 1e-8


def draw_batches():
    """Batches of pairs: a prompt, and the chosen and the rejected output, as token ids."""
    draw = random.Random(3)
    ids = lambda low, high: [draw.randrange(20, 120) for _ in range(draw.randrange(low, high))]
    return [[(ids(3, 9), ids(2, 12), ids(2, 12)) for _ in range(PAIRS)] for _ in range(STEPS)]


def sides_of(batch):
    """Sequences [(ids, weights of their targets)]: chosen, rejected, chosen, …"""
    sides = [(prompt, output) for prompt, *outputs in batch for output in outputs]
    return [(prompt + output, [0.0] * (len(prompt) - 1) + [1.0] * len(output)) for prompt, output in sides]


def dot_all(logprobs, sequences):
    return [torch.dot(one.float(), torch.tensor(weights)) for one, (_, weights) in zip(logprobs, sequences)]


def train_here(client, batches):
    losses, norms = [], []
    references = [[torch.tensor(one["logprobs"].data) for one in forward(client, batch)] for batch in batches]
    for batch, reference in zip(batches, references):
        sequences = sides_of(batch)

        def loss_of(_data, logprobs):
            sums = [*dot_all(logprobs, sequences)], [*dot_all(reference, sequences)]
            return compute_dpo_loss(*(sums[i][j::2] for i in (0, 1) for j in (0, 1)), dpo_beta=BETA)

        passed = client.forward_backward_custom(data_of(batch), loss_of).result()
        adam = types.AdamParams(learning_rate=RATE, beta1=BETAS[0], beta2=BETAS[1], eps=EPSILON)
        losses.append(passed.metrics["dpo_loss"])
        norms.append(client.optim_step(adam).result().metrics["grad_norm:mean"])
    return losses, norms


def data_of(batch):
    return [
        types.Datum(
            model_input=types.ModelInput.from_ints(ids[:-1]),
            loss_fn_inputs={
                "target_tokens": np.array(ids[1:], dtype=np.int64),
                "weights": np.array(weights, dtype=np.float32),
            },
        )
        for ids, weights in sides_of(batch)
    ]


def forward(client, batch):
    return client.forward(data_of(batch), "cross_entropy").result().loss_fn_outputs


def train_in_torch(checkpoint, adapter, batches):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, adapter, is_trainable=True)
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=BETAS, eps=EPSILON, weight_decay=0.0)

    def sums(batch):
        scores = []
        for ids, weights in sides_of(batch):
            logits = model(input_ids=torch.tensor([ids[:-1]])).logits[0]
            picked = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
            scores.append((picked * torch.tensor(weights)).sum())
        return torch.stack(scores).view(-1, 2)

    with torch.no_grad():
        references = [sums(batch) for batch in batches]
    losses, norms = [], []
    for batch, reference in zip(batches, references):
        ratios = sums(batch) - reference
        loss = -torch.nn.functional.logsigmoid(BETA * (ratios[:, 0] - ratios[:, 1])).mean()
        loss.backward()
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(trained, float("inf")).item())
        optimizer.step()
        optimizer.zero_grad()
    return losses, norms


mode, base_url, *rest = sys.argv[1:]
service = tinker.ServiceClient(base_url=base_url, api_key="tml-none")
if mode == "start":
    client = service.create_lora_training_client("base", rank=4, seed=5, train_unembed=False).result()
    print(json.dumps(client.save_state("start").result().path))
else:
    path, checkpoint, adapter = rest
    torch.set_num_threads(1)
    batches = draw_batches()
    ours = train_here(service.create_training_client_from_state(path).result(), batches)
    theirs = train_in_torch(checkpoint, adapter, batches)
    print(json.dumps({"ours": ours, "torch": theirs}))
