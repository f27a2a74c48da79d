"""Trains an adapter on given completions and rewards with TRL's GRPOTrainer and peft.

usage: train_rewarded.py MODEL SETTINGS FOLDER
SETTINGS is JSON: rows ({prompt: token ids, samples: [{ids, logProbs, reward}]}), prompts (of a step), rate, start (base or
continued). The log-probabilities are those of the sampler, which TRL weighs as if vLLM had sampled. Saves the adapter before
the first step to FOLDER/initial, after the last one to FOLDER/final, and the gradients of the first step to
FOLDER/grads.safetensors. A continued adapter has a random B. Prints a line of JSON: the losses, and the mean reward of each
step.
"""

import json
import sys
from types import SimpleNamespace

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

import trl_peer

source, settings, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
rows = settings["rows"]
group = len(rows[0]["samples"])


def roll_out(prompts, _):
    """Each prompt is the number of its row, and is repeated for each of its samples."""
    chosen = [rows[int(prompt)] for prompt in prompts[::group]]
    samples = [sample for row in chosen for sample in row["samples"]]
    return {
        "prompt_ids": [row["prompt"] for row in chosen for _ in row["samples"]],
        "completion_ids": [sample["ids"] for sample in samples],
        "logprobs": [sample["logProbs"] for sample in samples],
    }


def reward(prompts, **_):
    return [sample["reward"] for prompt in prompts[::group] for sample in rows[int(prompt)]["samples"]]


class Rewarded(trl_peer.KeepsLosses, GRPOTrainer):
    pass


model = trl_peer.begin(source, settings["start"] == "continued")
arguments = GRPOConfig(
    **trl_peer.steps_of(folder, settings["rate"]),
    per_device_train_batch_size=settings["prompts"] * group,
    num_generations=group,
    steps_per_generation=1,
    shuffle_dataset=False,
    vllm_importance_sampling_mode="token_truncate",
)
assert (arguments.loss_type, arguments.beta, arguments.epsilon) == ("dapo", 0.0, 0.2)
assert arguments.vllm_importance_sampling_clip_max == 3.0
numbers = [{"prompt": str(number)} for number in range(len(rows))]
trainer = Rewarded(
    **model,
    args=arguments,
    train_dataset=Dataset.from_list(numbers),
    reward_funcs=reward,
    rollout_func=roll_out,
)
trainer.use_vllm = True
trainer.vllm_generation = SimpleNamespace(sync_weights=lambda: None)
trainer._last_loaded_step = -1
trainer.current_gradient_accumulation_steps = 1
first = [row for row in numbers[: settings["prompts"]] for _ in range(group)]
trl_peer.train(trainer, folder, lambda: trainer._generate_and_score_completions(first))
steps = [entry for entry in trainer.state.log_history if "reward" in entry]
print(json.dumps({"losses": trainer.losses, "rewards": [step["reward"] for step in steps]}))
