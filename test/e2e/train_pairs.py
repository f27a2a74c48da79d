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
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

source, settings, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
is_continued = settings["start"] == "continued"
torch.set_num_threads(1)
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
METRICS = [f"{part}/{side}" for part in ("rewards", "logps") for side in ("chosen", "rejected")]
METRICS += ["rewards/margins", "rewards/accuracies"]
rows = [{f"{part}_ids": row[part] for part in ("prompt", "chosen", "rejected")} for row in settings["rows"]]


class Pairs(DPOTrainer):
    """Takes token ids as they are, in their order, and keeps the losses, which the log rounds."""

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset

    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


def train(preference):
    torch.manual_seed(1)
    out = f"{folder}/{preference['loss']}"
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
    arguments = DPOConfig(
        output_dir=f"{out}/trl",
        per_device_train_batch_size=settings["pairs"],
        num_train_epochs=1,
        learning_rate=settings["rate"],
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        weight_decay=0.0,
        optim="adamw_torch",
        beta=preference["beta"],
        loss_type=[preference["loss"]],
        label_smoothing=preference["labelSmoothing"],
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    trainer = Pairs(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=None if is_continued else config,
    )
    trainer.losses = []
    trained = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert trained and not any(".ref." in name for name in trained), "the reference must be frozen"
    trainer.model.save_pretrained(f"{out}/initial", selected_adapters=["default"])
    # The first step's gradients, before they are clipped.
    trainer.model.train()
    trainer.compute_loss(trainer.model, trainer.data_collator(rows[: settings["pairs"]])).backward()
    gradients = {name.replace(".default", ""): p.grad.clone() for name, p in trained.items()}
    save_file(gradients, f"{out}/grads.safetensors")
    trainer.model.zero_grad()
    trainer._metrics["train"].clear()
    trainer.losses.clear()
    trainer.train()
    trainer.model.save_pretrained(f"{out}/final", selected_adapters=["default"])
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    metrics = [{name: step[name] for name in METRICS} for step in steps]
    return {"losses": trainer.losses, "metrics": metrics}


print(json.dumps({preference["loss"]: train(preference) for preference in settings["preferences"]}))
