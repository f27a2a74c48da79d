"""Converts checkpoints to GGUF with llama.cpp's own converter. Prints the names of what it wrote.

convert_checkpoints.py LLAMA_CPP OUT SOURCE...: writes OUT/NAME.gguf in float32, without a tokenizer.
"""
import json
import shutil
import sys
from pathlib import Path

root, out, *sources = sys.argv[1:]
sys.path[:0] = [root, f"{root}/gguf-py"]

import gguf
import torch
from conversion import ModelBase, ModelType, get_model_architecture, get_model_class


def convert(source: Path) -> None:
    hparams = ModelBase.load_hparams(source, False)
    # The tiny models have no tokenizer. The converter of Gemma 3 counts its tokens.
    vocab = {str(token): token for token in range(hparams["vocab_size"])}
    (source / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": []}))
    model_class = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    model_class.set_vocab = lambda self: None
    model_class(source, gguf.LlamaFileType.ALL_F32, Path(out) / f"{source.name}.gguf", eager=True).write()


with torch.inference_mode():
    for source in map(Path, sources):
        copy = Path(out) / source.name
        copy.mkdir()
        for file in [source / "config.json", *source.glob("model*")]:
            shutil.copy(file, copy)
        convert(copy)
print(json.dumps([Path(source).name for source in sources]))
