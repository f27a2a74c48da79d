"""What the scripts share that train with TRL and peft next to us: a small model with an adapter, settings, and the first gradients."""

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class KeepsLosses:
    """A mixin of trainers: keeps the losses, which the log rounds."""

    losses = []

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


def begin(source, is_continued):
    """Returns the trainer's arguments for the model. A continued adapter has a random B."""
    torch.manual_seed(1)
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
    return {"model": model, "processing_class": tokenizer, "peft_config": None if is_continued else config}


def steps_of(folder, rate):
    """Returns the settings of plain steps of AdamW on the CPU."""
    return dict(
        output_dir=f"{folder}/trl",
        num_train_epochs=1,
        learning_rate=rate,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        weight_decay=0.0,
        optim="adamw_torch",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def train(trainer, folder, first_batch):
    """Trains. Saves the first adapter, the gradients of the first batch before they are clipped, and the last adapter."""
    trained = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert trained and not any(".ref." in name for name in trained), "the reference must be frozen"
    trainer.model.save_pretrained(f"{folder}/initial", selected_adapters=["default"])
    trainer.model.train()
    trainer.compute_loss(trainer.model, first_batch()).backward()
    gradients = {name.replace(".default", ""): p.grad.clone() for name, p in trained.items()}
    save_file(gradients, f"{folder}/grads.safetensors")
    trainer.model.zero_grad()
    trainer._metrics["train"].clear()
    trainer.losses.clear()
    trainer.train()
    trainer.model.save_pretrained(f"{folder}/final", selected_adapters=["default"])
