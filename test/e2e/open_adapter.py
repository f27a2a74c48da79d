# Opens an adapter in peft on a base in transformers, and writes the logits of some rows in float32.
# Arguments: base folder, adapter folder, rows of token ids as JSON (all of one length), file to write (safetensors).
import json
import sys

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM


def unpacked(linear):
    """bitsandbytes' product on a CPU is 1e-2 off: its weights as a plain linear."""
    plain = torch.nn.Linear(linear.in_features, linear.out_features, bias=False)
    plain.weight.data = dequantize_4bit(linear.weight.data, linear.weight.quant_state)
    return plain


base, adapter, rows, out = sys.argv[1:]
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
for name, module in list(model.named_modules()):
    if isinstance(module, Linear4bit):
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, unpacked(module))
model = PeftModel.from_pretrained(model, adapter).eval()
with torch.no_grad():
    save_file({"logits": model(torch.tensor(json.loads(rows))).logits.contiguous()}, out)
