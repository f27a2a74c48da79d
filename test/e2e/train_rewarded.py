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
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

source, settings, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
is_continued = settings["start"] == "continued"
torch.set_num_threads(1)
torch.manual_seed(1)
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
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


class Rewarded(GRPOTrainer):
    """Keeps the losses, which the log rounds."""

    losses = []

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
words = {f"t{i}": i for i in range(model.config.vocab_size)}
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="t0")),
    pad_token="t0",
    eos_token="t1",
    unk_token="t0",
)
config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=LINEARS)
if is_continued:
    model = get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
arguments = GRPOConfig(
    output_dir=f"{folder}/trl",
    per_device_train_batch_size=settings["prompts"] * group,
    num_generations=group,
    steps_per_generation=1,
    num_train_epochs=1,
    learning_rate=settings["rate"],
    lr_scheduler_type="constant",
    max_grad_norm=1.0,
    weight_decay=0.0,
    optim="adamw_torch",
    shuffle_dataset=False,
    vllm_importance_sampling_mode="token_truncate",
    gradient_checkpointing=False,
    bf16=False,
    use_cpu=True,
    logging_steps=1,
    save_strategy="no",
    report_to=[],
    disable_tqdm=True,
)
assert (arguments.loss_type, arguments.beta, arguments.epsilon) == ("dapo", 0.0, 0.2)
assert arguments.vllm_importance_sampling_clip_max == 3.0
numbers = [{"prompt": str(number)} for number in range(len(rows))]
trainer = Rewarded(
    model=model,
    args=arguments,
    train_dataset=Dataset.from_list(numbers),
    reward_funcs=reward,
    rollout_func=roll_out,
    processing_class=tokenizer,
    peft_config=None if is_continued else config,
)
trainer.use_vllm = True
trainer.vllm_generation = SimpleNamespace(sync_weights=lambda: None)
trainer._last_loaded_step = -1
trained = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
trainer.model.save_pretrained(f"{folder}/initial")
# The first step's gradients, before they are clipped.
trainer.model.train()
trainer.current_gradient_accumulation_steps = 1
first = [row for row in numbers[: settings["prompts"]] for _ in range(group)]
trainer.compute_loss(trainer.model, trainer._generate_and_score_completions(first)).backward()
save_file({name.replace(".default", ""): p.grad.clone() for name, p in trained.items()}, f"{folder}/grads.safetensors")
trainer.model.zero_grad()
trainer._metrics["train"].clear()
trainer.losses.clear()
trainer.train()
trainer.model.save_pretrained(f"{folder}/final")
steps = [entry for entry in trainer.state.log_history if "reward" in entry]
print(json.dumps({"losses": trainer.losses, "rewards": [step["reward"] for step in steps]}))
