"""What a client does to a running job, with OpenAI's official Python client: pause, resume, cancel another, look at the
events, checkpoints and files. argv: a training file of its own. Prints one JSON object."""

import json
import sys
import time

from openai import BadRequestError, OpenAI

client = OpenAI()
jobs = client.fine_tuning.jobs


def until(look, is_enough):
    while not is_enough(seen := look()):
        time.sleep(0.3)
    return seen


def metrics_of(job_id):
    return [event for event in jobs.list_events(job_id, limit=100) if event.type == "metrics"]


job = until(lambda: jobs.list(limit=1).data, len)[0]
until(lambda: metrics_of(job.id), lambda events: len(events) >= 3)
with open(sys.argv[1], "rb") as file:
    training = client.files.create(file=file, purpose="fine-tune")
client.files.wait_for_processing(training.id)
other = jobs.create(model="base", training_file=training.id, metadata={"part": "cancelled"})
cancelled = jobs.cancel(other.id)
paused = jobs.pause(job.id)
until(lambda: jobs.retrieve(job.id), lambda now: now.status == "paused")
resumed = jobs.resume(job.id)
ended = until(lambda: jobs.retrieve(job.id), lambda now: now.status in ("succeeded", "failed"))
try:
    jobs.pause(job.id)
    refusal = None
except BadRequestError as error:
    refusal = error.code
checkpoints = list(jobs.checkpoints.list(job.id))
[result_file] = ended.result_files
print(
    json.dumps(
        {
            "job": job.id,
            "cancelled": cancelled.status,
            "paused": paused.status,
            "resumed": resumed.status,
            "ended": ended.status,
            "model": ended.fine_tuned_model,
            "trained_tokens": ended.trained_tokens,
            "refusal": refusal,
            "messages": [event.message for event in jobs.list_events(job.id)],
            "steps": sorted(event.data["step"] for event in metrics_of(job.id)),
            "checkpoints": [
                {"model": each.fine_tuned_model_checkpoint, "step": each.step_number}
                for each in checkpoints
            ],
            "table": client.files.content(result_file).text,
            "models": [model.id for model in client.models.list()],
            "deleted": client.files.delete(training.id).deleted,
        }
    )
)
