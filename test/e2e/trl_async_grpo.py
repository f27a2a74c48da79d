"""TRL's AsyncGRPOTrainer: trains LoRA on its own torch model, and samples from a server that loads each new adapter.

usage: trl_async_grpo.py BASE_URL CHECKPOINT STEPS OUT
CHECKPOINT: the served base as a transformers folder. OUT: a folder from which the server loads adapters.
Prints one line of JSON: what the trainer logged at each step.
"""

import json
import sys
import types

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer
from trl.chat_template_utils import qwen2_5_chat_template
from trl.experimental.async_grpo import AsyncGRPOConfig, AsyncGRPOTrainer, packing

SUBJECTS = ["cats", "rain", "music", "tea", "stars", "ice", "bread", "rivers"]


def attend(q, k, v, cu_q, cu_k, _max_q, _max_k, softmax_scale=None, **_):
    """Causal attention of packed sequences [tokens, heads, size], in torch: the trainer's kernel needs a GPU."""
    outputs = []
    groups = q.shape[1] // k.shape[1]
    for a, b, c, d in zip(cu_q[:-1], cu_q[1:], cu_k[:-1], cu_k[1:]):
        queries = q[a:b].transpose(0, 1)
        keys, values = (x[c:d].transpose(0, 1).repeat_interleave(groups, 0) for x in (k, v))
        mask = torch.ones(b - a, d - c, dtype=torch.bool).tril(d - c - (b - a))
        output = torch.nn.functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, scale=softmax_scale
        )
        outputs.append(output.transpose(0, 1))
    return torch.cat(outputs)


def reward_vowels(completions, **_):
    texts = [one[-1]["content"] for one in completions]
    return [sum(letter in "aeiou" for letter in text) / max(1, len(text)) for text in texts]


if __name__ == "__main__":
    base_url, checkpoint, steps, out = sys.argv[1:5]
    packing._flash_attn = lambda: types.SimpleNamespace(flash_attn_varlen_func=attend)
    torch.cuda.get_device_name = lambda *_: "cpu"  # asked only for the speed of the GPU
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.chat_template = qwen2_5_chat_template  # the trainer wants a template that it knows
    prompts = [[{"role": "user", "content": f"Say something about {one}."}] for one in SUBJECTS]
    args = AsyncGRPOConfig(
        output_dir=out,
        vllm_server_base_url=base_url,
        max_steps=int(steps),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=1,
        token_budget=-1,  # a step takes 4 samples
        num_generations=4,
        max_completion_length=12,
        max_staleness=2,
        learning_rate=1e-3,
        request_timeout=600,
        heartbeat_stale_after_s=900,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        dtype="float32",
        gradient_checkpointing=False,
    )
    trainer = AsyncGRPOTrainer(
        model=checkpoint,
        processing_class=tokenizer,
        reward_funcs=reward_vowels,
        args=args,
        train_dataset=Dataset.from_dict({"prompt": prompts * 8}),
        peft_config=LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train()
    logged = [one for one in trainer.state.log_history if "reward" in one]
    print(json.dumps({"logged": logged, "version": trainer.model_version}))
