"""Generates with mistral.rs in this process.

generate_mistralrs.py MODEL SLOTS [ADAPTERS]
ADAPTERS is a folder of PEFT folders, which are loaded by their names.
Prints a line when it is ready. Then reads jobs as lines of JSON, {"prompts": [a text, ...], "tokens": N, "adapters": [a name,
...]}, deals the adapters round robin over the prompts, and prints a line for each: {"seconds": S, "promptTokens": N,
"decodedPerS": R}. R counts only the steps in which all prompts generate.
"""
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

from mistralrs import Architecture, ChatCompletionRequest, LoraAdapter, Runner, Which

slots, *adapters = sys.argv[2:]
folder = pathlib.Path(sys.argv[1])
protocol = os.fdopen(os.dup(1), "w")  # the library writes its log to stdout
os.dup2(2, 1)

scratch = pathlib.Path(tempfile.mkdtemp())
# Only chats are streamed, so a template makes them texts.
template = scratch / "text.jinja"
template.write_text("{{ messages[0]['content'] }}")
# The layers in 8 bits. With the head in 8 bits, prompts of the same length fail: "input tensor is not contiguous".
topology = scratch / "topology.yml"
layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
topology.write_text(f"'0-{layers}':\n  isq: Q8_0\n")
model = {"model_id": str(folder), "arch": Architecture.Llama, "topology": str(topology)}
if adapters:
    paths = [path for path in pathlib.Path(adapters[0]).iterdir() if not path.name.startswith(".")]
    loaded = [LoraAdapter(path.name, str(path)) for path in paths]
    which = Which.Lora(**model, adapters=loaded, max_adapters=len(loaded), max_rank=16)
else:
    which = Which.Plain(**model)
runner = Runner(which, max_seqs=int(slots), prefix_cache_n=0, jinja_explicit=str(template))
shutil.rmtree(scratch)


def generate(prompts, tokens, adapters=()):
    start = time.perf_counter()
    streams = {}
    for i, prompt in enumerate(prompts):
        request = ChatCompletionRequest(
            prompt,
            "default",
            max_tokens=tokens,
            temperature=0.0,
            ignore_eos=True,
            stream=True,
            adapter=adapters[i % len(adapters)] if adapters else None,
        )
        streams[i] = runner.send_chat_completion_request(request)
    whole = []  # the times at which every prompt has got a chunk, which is nearly always a token
    usage = {}
    while streams:
        for i, stream in list(streams.items()):
            chunk = next(stream, None)  # waits
            if chunk is None:
                del streams[i]
            else:
                usage[i] = chunk.usage or usage.get(i)
        if len(streams) == len(prompts):
            whole.append(time.perf_counter())
    seconds = time.perf_counter() - start
    assert all(one.completion_tokens == tokens for one in usage.values()), usage
    result = {"seconds": seconds, "promptTokens": sum(one.prompt_tokens for one in usage.values())}
    if len(whole) > 1:
        result["decodedPerS"] = len(prompts) * (len(whole) - 1) / (whole[-1] - whole[0])
    return result


generate(["Once upon a time"], 8)
print("ready", file=protocol, flush=True)
for line in sys.stdin:
    print(json.dumps(generate(**json.loads(line))), file=protocol, flush=True)
