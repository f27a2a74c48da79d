"""Training steps of SkyRL's JAX backend on the CPU, without its HTTP server, which takes other bodies than today's client sends.

usage: skyrl_steps.py CHECKPOINT RANK
Reads batches, one a line: rows of token ids as JSON. Prints a line when the step is done.
"""

import json
import sys
import typing

import typing_extensions

typing.TypedDict = typing_extensions.TypedDict  # skyrl 0.3.0 needs that before Python 3.12

from skyrl.backends.jax import JaxBackend, JaxBackendConfig
from skyrl.tinker import types

checkpoint, rank = sys.argv[1], int(sys.argv[2])
backend = JaxBackend(checkpoint, JaxBackendConfig(max_lora_adapters=2, max_lora_rank=rank))
backend.create_model("m", types.LoraConfig(rank=rank, alpha=32, seed=1))
adam = types.AdamParams(learning_rate=1e-4, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0)
print("ready", flush=True)
for line in sys.stdin:
    rows = json.loads(line)
    zeros = [[0.0] * (len(row) - 1) for row in rows]
    batch = types.PreparedModelPassBatch(
        all_model_inputs=[types.ModelInput(chunks=[types.EncodedTextChunk(tokens=row[:-1])]) for row in rows],
        all_targets=[row[1:] for row in rows],
        all_token_weights=[[1.0] * (len(row) - 1) for row in rows],
        all_sampling_logprobs=zeros,
        all_advantages=zeros,
        all_values=zeros,
        all_returns=zeros,
        all_model_ids=["m"] * len(rows),
        all_loss_fns=["cross_entropy"] * len(rows),
        all_loss_fn_configs=[None] * len(rows),
        request_batch_slices=[("r", "m", 0, len(rows))],
    )
    backend.forward_backward(batch)
    backend.optim_step("m", types.OptimStepInput(adam_params=adam))
    print("done", flush=True)
