"""Trains with OpenAI's client, uses the result and grades it. The Python version of `withNode` in preference-clients.test.ts.

usage: preference_client.py FILE METHOD
METHOD is JSON. Prints a line of JSON: status, method, hyperparameters, events, metrics, checkpoints, answer, graded.
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
    method=json.loads(sys.argv[2]),
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
graders = client.fine_tuning.alpha.graders
with open("test/e2e/data/grader.json", encoding="utf-8") as file:
    grader = graders.validate(grader=json.load(file)).grader.model_dump(exclude_none=True)
graded = graders.run(
    grader=grader, model_sample=answer.choices[0].message.content, item={"wanted": "Blue."}
)
print(
    json.dumps(
        {
            "status": job.status,
            "method": job.method.model_dump(exclude_none=True),
            "hyperparameters": job.hyperparameters.model_dump(exclude_none=True),
            "events": [event.message for event in events],
            "metrics": next(event.data for event in events if event.type == "metrics"),
            "checkpoints": [
                checkpoint.fine_tuned_model_checkpoint == job.fine_tuned_model
                for checkpoint in jobs.checkpoints.list(job.id)
            ],
            "answer": answer.choices[0].message.content,
            "graded": {"reward": graded.reward, "errors": graded.metadata.errors.model_dump()},
        }
    )
)
