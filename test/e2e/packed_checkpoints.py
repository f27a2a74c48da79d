"""Packs a model with the libraries that people use, and writes what they say its weights are.

usage: packed_checkpoints.py SOURCE OUT
Writes OUT/CASE/{config.json,model.safetensors} as the library saves them, and OUT/CASE.safetensors with the weights that the
library itself expands them to, in float32. Prints the cases as a line of JSON.
"""

import json
import os
import sys

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

source, out = sys.argv[1:]
torch.set_num_threads(1)
torch.manual_seed(1)


def weights(bits, kind, **settings):
    return {"num_bits": bits, "type": kind, "dynamic": False, **settings}


CASES = {
    "int4-groups": ("pack-quantized", weights(4, "int", strategy="group", group_size=32, symmetric=True)),
    "int4-zero-points": ("pack-quantized", weights(4, "int", strategy="group", group_size=32, symmetric=False)),
    "int8-packed": ("pack-quantized", weights(8, "int", strategy="channel", symmetric=True)),
    "int8-channels": ("int-quantized", weights(8, "int", strategy="channel", symmetric=True)),
    "fp8-tensor": ("float-quantized", weights(8, "float", strategy="tensor", symmetric=True)),
    "fp8-channels": ("float-quantized", weights(8, "float", strategy="channel", symmetric=True)),
    "fp8-blocks": ("float-quantized", weights(8, "float", strategy="block", block_structure=[32, 32], symmetric=True)),
}


def calibrate(module, settings):
    """Scales and zero points by the largest magnitude, as an observer would find them."""
    weight = module.weight.data
    scale, zero = module.weight_scale.data, getattr(module, "weight_zero_point", None)
    rows, cols = weight.shape
    if settings["strategy"] == "block":
        blocks = weight.reshape(rows // 32, 32, cols // 32, 32)
        parts = blocks.permute(0, 2, 1, 3).reshape(rows // 32, cols // 32, -1)
    else:
        parts = weight.reshape(*scale.shape, -1) if scale.ndim == 2 else weight.reshape(1, -1)
    limit = 448 if settings["type"] == "float" else 2 ** (settings["num_bits"] - 1) - 1
    if settings["symmetric"]:
        module.weight_scale.data.copy_((parts.abs().amax(-1) / limit).reshape(scale.shape))
        return
    low, high = parts.amin(-1), parts.amax(-1)
    step = (high - low) / 15
    module.weight_scale.data.copy_(step.reshape(scale.shape))
    zero.data.copy_((-8 - torch.round(low / step)).clamp(-8, 7).reshape(zero.shape).to(zero.dtype))


for name, (form, settings) in CASES.items():
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    group = {"targets": ["Linear"], "weights": settings, "format": form}
    config = QuantizationConfig(
        config_groups={"group_0": group}, format=form, ignore=["lm_head"], quantization_status="frozen"
    )
    apply_quantization_config(model, config)
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            calibrate(module, settings)
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format=form)
    compressor.compress_model(model)
    folder = os.path.join(out, name)
    model.save_pretrained(folder, safe_serialization=True)
    compressor.update_config(folder)
    compressor.decompress_model(model)
    expanded = {
        key: value.float().contiguous()
        for key, value in model.state_dict().items()
        if key.endswith("proj.weight")
    }
    save_file(expanded, os.path.join(out, f"{name}.safetensors"))
print(json.dumps(list(CASES)))
