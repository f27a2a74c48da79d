"""A training loop with Tinker's own client: trains, samples, saves, resumes, lists, and is refused.

usage: tinker_client.py BASE_URL KEY BASE_MODEL TOKENS, as JSON, at least eight
Prints one line of JSON: what the client understood.
"""

import json
import sys
import warnings

import numpy as np
import tinker
from tinker import types

warnings.simplefilter("ignore")
base_url, key, base_model, TOKENS = *sys.argv[1:4], json.loads(sys.argv[4])
STEPS = 8
ADAM = types.AdamParams(learning_rate=1e-3, eps=1e-8)


def datum(tokens, **inputs):
    weights = inputs or {"weights": [1.0] * (len(tokens) - 1)}
    arrays = {name: np.array(values, dtype=np.float32) for name, values in weights.items()}
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={"target_tokens": np.array(tokens[1:], dtype=np.int64), **arrays},
    )


def step(client, data, loss_fn="cross_entropy"):
    passed = client.forward_backward(data, loss_fn)
    updated = client.optim_step(ADAM)
    updated.result()
    return passed.result()


service = tinker.ServiceClient(base_url=base_url, api_key=key)
rest = tinker.RestClient(base_url=base_url, api_key=key)
names = [model.model_name for model in rest.get_server_capabilities().result().supported_models]
client = service.create_lora_training_client(base_model=base_model, rank=8, seed=1).result()
data = [datum(TOKENS), datum(TOKENS[:5])]
losses = [step(client, data).metrics["loss:sum"] for _ in range(STEPS)]

sampler = client.save_weights_and_get_sampling_client().result()
prompt = types.ModelInput.from_ints(TOKENS[:3])
greedy = types.SamplingParams(max_tokens=3, temperature=0.0)
sampled = sampler.sample(prompt, 2, greedy).result()
scored = sampler.compute_logprobs(types.ModelInput.from_ints(TOKENS)).result()
trained = client.forward([datum(TOKENS)], "cross_entropy").result().loss_fn_outputs[0]["logprobs"]
difference = max(abs(a - b) for a, b in zip(scored[1:], trained.data))

# The tokens of the prompt as targets, dense and sparse, have its own scores.
own = np.array(TOKENS[1:], dtype=np.int64).reshape(-1, 1)
with_none = np.concatenate([own, np.full_like(own, -1)], axis=1)
sparse = types.TensorData(
    data=[TOKENS[2]],
    dtype="int64",
    shape=[len(TOKENS) - 1, 3],
    sparse_crow_indices=[0, 0] + [1] * (len(TOKENS) - 2),
    sparse_col_indices=[2],
)
one = types.SamplingParams(max_tokens=1)
targets = [
    sampler.sample(types.ModelInput.from_ints(TOKENS), 1, one, target_prompt_logprobs=target).result()
    for target in (types.TensorData.from_numpy(with_none), sparse)
]
dense_scores, sparse_scores = (response.target_prompt_logprobs for response in targets)
target_scores = {
    "dense": list(dense_scores.data),
    "sparse": list(sparse_scores.data),
    "expected": scored[1:],
}

# Policy gradients on the samples: chunks of other losses run in the same model.
sequence = sampled.sequences[0]
ids = TOKENS[:3] + list(sequence.tokens)
padding = [0.0, 0.0]
count = len(sequence.tokens)
rewarded = datum(
    ids,
    logprobs=padding + list(sequence.logprobs),
    advantages=padding + [1.0] * count,
    sequence_ratio_mask=padding + [1.0] * count,
)
for loss_fn in ("importance_sampling", "ppo", "cispo", "dro", "gspo"):
    client.forward([rewarded], loss_fn).result()

state = client.save_state("middle").result().path
weights = client.save_weights_for_sampler("middle").result().path
resumed = service.create_training_client_from_state_with_optimizer(state).result()
continued = [step(each, data).metrics["loss:sum"] for each in (client, resumed)]
after = [each.forward(data, "cross_entropy").result().metrics["loss:sum"] for each in (client, resumed)]

other = service.create_sampling_client(model_path=weights).result()
again = other.sample(prompt, 1, greedy).result().sequences[0]
try:
    client.forward_backward([datum(TOKENS)], "stable_reinforce").result()
    refused = None
except tinker.RequestFailedError as error:
    refused = str(error)
copied = rest.copy_weights(weights, "any-project").result()
copy = service.create_sampling_client(model_path=copied).result()
sampled_copy = copy.sample(prompt, 1, greedy).result().sequences[0]
checkpoints = rest.list_checkpoints(client.model_id).result().checkpoints
rest.delete_checkpoint_from_tinker_path(state).result()
left = rest.list_checkpoints(client.model_id).result().checkpoints
runs = rest.list_training_runs().result().training_runs
print(
    json.dumps(
        {
            "names": names,
            "losses": losses,
            "lengths": [len(sequence.tokens), len(sequence.logprobs)],
            "sameSamples": list(sampled.sequences[1].tokens) == list(sequence.tokens),
            "difference": difference,
            "continued": continued,
            "after": after,
            "baseOfSampler": other.get_base_model(),
            "sameAfterSave": list(again.tokens) == list(sequence.tokens),
            "targets": target_scores,
            "copied": copied,
            "sameAfterCopy": list(sampled_copy.tokens) == list(sequence.tokens),
            "refused": refused,
            "checkpoints": sorted(one.checkpoint_id for one in checkpoints),
            "left": [one.checkpoint_id for one in left],
            "rank": rest.get_weights_info_by_tinker_path(weights).result().lora_rank,
            "runs": [one.training_run_id for one in runs],
            "models": [client.model_id, resumed.model_id],
            "weights": weights,
        }
    )
)
