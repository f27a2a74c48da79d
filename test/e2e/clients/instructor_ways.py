"""Instructor, which makes objects of answers."""

import instructor
import openai
from ways import MESSAGES, OPTIONS, Report, model


def ask(mode):
    client = instructor.from_openai(openai.OpenAI(**OPTIONS), mode=instructor.Mode[mode])
    made = client.chat.completions.create(
        model=model, response_model=Report, messages=MESSAGES, max_retries=0, temperature=0,
        max_tokens=60,
    )
    return made.city


WAYS = {
    "chat": {
        "tools": lambda: ask("TOOLS"),
        "strict tools": lambda: ask("TOOLS_STRICT"),
        "output": lambda: ask("JSON_SCHEMA"),
    },
}
