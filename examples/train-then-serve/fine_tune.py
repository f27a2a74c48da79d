"""Fine-tunes with OpenAI's official client. The Python version of fine-tune.mjs."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "none"),
)
data = Path(__file__).parent / "data"
rows = [json.loads(line)["messages"] for line in (data / "test.jsonl").read_text().splitlines()]


def is_right(model, row):
    answer = client.chat.completions.create(
        model=model, messages=row[:-1], max_tokens=8, temperature=0
    )
    return answer.choices[0].message.content.strip() == row[-1]["content"]


def exact_match(model):
    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(lambda row: is_right(model, row), rows)) / len(rows)


def upload(split):
    with open(data / f"{split}.jsonl", "rb") as file:
        return client.files.create(file=file, purpose="fine-tune")


def follow(job_id):
    """Prints the job's events until it ends."""
    printed = set()
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        fresh = []
        for event in client.fine_tuning.jobs.list_events(job_id, limit=100):
            if event.id in printed:
                break  # newest first
            printed.add(event.id)
            fresh.insert(0, event)
        for event in fresh:
            print(event.message, flush=True)
        if job.status == "succeeded":
            return job.fine_tuned_model
        if job.status in ("failed", "cancelled"):
            raise SystemExit(job.error.message if job.error else job.status)
        time.sleep(2)


print(f"base: exact match {exact_match('base'):.3f} of {len(rows)} rows", flush=True)
job = client.fine_tuning.jobs.create(
    model="base",
    training_file=upload("train").id,
    validation_file=upload("validation").id,
    suffix="glosses",
    seed=1,
    method={
        "type": "supervised",
        "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 8}},
    },
)
model = follow(job.id)
print(f"{model}: exact match {exact_match(model):.3f} of {len(rows)} rows")
