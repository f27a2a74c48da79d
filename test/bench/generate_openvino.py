"""Generates with OpenVINO GenAI in this process.

generate_openvino.py MODEL SLOTS
Prints a line when it is ready. Then reads jobs as lines of JSON, {"prompts": [a text or token ids, ...], "tokens": N}, and
prints a line for each: {"seconds": S, "decodedPerS": R}. R counts only the steps in which all prompts generate.
"""
import json
import sys
import time

import numpy
import openvino
import openvino_genai

folder, slots = sys.argv[1:]
scheduler = openvino_genai.SchedulerConfig()
scheduler.max_num_seqs = int(slots)
scheduler.cache_size = 1  # GiB
scheduler.enable_prefix_caching = False
pipeline = openvino_genai.ContinuousBatchingPipeline(folder, scheduler, "CPU")
tokenizer = pipeline.get_tokenizer()


def encode(prompt):
    if isinstance(prompt, str):
        return tokenizer.encode(prompt, add_special_tokens=False).input_ids
    return openvino.Tensor(numpy.array([prompt], dtype=numpy.int64))


def generate(prompts, tokens):
    config = openvino_genai.GenerationConfig(max_new_tokens=tokens, ignore_eos=True, do_sample=False)
    start = time.perf_counter()
    handles = [pipeline.add_request(i, encode(prompt), config) for i, prompt in enumerate(prompts)]
    counts = [0] * len(handles)
    whole = []  # the times at which every prompt has got a token in the same step
    while pipeline.has_non_finished_requests():
        pipeline.step()
        before = list(counts)
        for i, handle in enumerate(handles):
            while handle.can_read():
                counts[i] += sum(len(output.generated_ids) for output in handle.read().values())
        if all(now > then for now, then in zip(counts, before)):
            whole.append(time.perf_counter())
    seconds = time.perf_counter() - start
    assert sum(counts) == tokens * len(handles), counts
    result = {"seconds": seconds}
    if len(whole) > 1:
        result["decodedPerS"] = len(handles) * (len(whole) - 1) / (whole[-1] - whole[0])
    return result


generate(["Once upon a time"], 8)  # the first run compiles kernels
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(generate(**json.loads(line))), flush=True)
