"""Trains on pairs with OpenAI's client, and uses the result. The Python version of `withNode` in preference-clients.test.ts.

usage: preference_client.py FILE
Prints a line of JSON: status, method, hyperparameters, events, metrics, answer.
"""

import json
import sys
import time

from openai import OpenAI

client = OpenAI()
jobs = client.fine_tuning.jobs


def upload():
    with open(sys.argv[1], "rb") as file:
        return client.files.create(file=file, purpose="fine-tune").id


job = jobs.create(
    model="base",
    training_file=upload(),
    validation_file=upload(),
    suffix="python",
    seed=1,
    method={
        "type": "dpo",
        "dpo": {"hyperparameters": {"beta": 0.5, "n_epochs": 8, "learning_rate_multiplier": 20}},
    },
)
while job.status not in ("succeeded", "failed"):
    time.sleep(0.2)
    job = jobs.retrieve(job.id)
events = list(jobs.list_events(job.id, limit=100))
answer = client.chat.completions.create(
    model=job.fine_tuned_model or "none",
    messages=[{"role": "user", "content": "What is 3?"}],
    max_tokens=8,
    temperature=0,
)
print(
    json.dumps(
        {
            "status": job.status,
            "method": job.method.model_dump(exclude_none=True),
            "hyperparameters": job.hyperparameters.model_dump(exclude_none=True),
            "events": [event.message for event in events],
            "metrics": next(event.data for event in events if event.type == "metrics"),
            "answer": answer.choices[0].message.content,
        }
    )
)
