# Opens artifacts in transformers with bitsandbytes, and quantizes their sources with bitsandbytes itself.
# Arguments: pairs of an artifact and its source folder. Prints a line of JSON for each: how many linears are packed,
# the tensors that differ, and the model's dtype.
import glob
import json
import sys

import torch
from bitsandbytes.functional import quantize_4bit
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def compare(artifact, source):
    model = AutoModelForCausalLM.from_pretrained(artifact)
    packed = load_file(f"{artifact}/model.safetensors")
    weights = {}
    for shard in glob.glob(f"{source}/model*.safetensors"):
        weights.update(load_file(shard))
    linears = [name for name, module in model.named_modules() if isinstance(module, Linear4bit)]
    differing = []
    for linear in linears:
        weight = f"{linear}.weight"
        codes, state = quantize_4bit(weights[weight], compress_statistics=True, quant_type="nf4")
        tensors = state.as_dict(packed=True).items()
        expected = {weight: codes} | {f"{weight}.{key}": value for key, value in tensors}
        differing += [key for key, value in expected.items() if not torch.equal(value, packed[key])]
    return {"linears": len(linears), "differing": differing, "dtype": str(model.dtype)}


torch.set_num_threads(1)
for artifact, source in zip(sys.argv[1::2], sys.argv[2::2]):
    print("RESULT", json.dumps(compare(artifact, source)))
