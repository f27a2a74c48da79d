"""Pydantic AI."""

import openai
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.messages import (
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from ways import EXAMPLE, OPTIONS, QUESTION, RESULT, Report, Weather, check_agent, model

SHOWN = [
    ModelRequest([UserPromptPart(EXAMPLE["question"])]),
    ModelResponse([ToolCallPart("get_weather", EXAMPLE["arguments"], "call_1")]),
    ModelRequest([ToolReturnPart("get_weather", RESULT, "call_1")]),
    ModelResponse([TextPart(EXAMPLE["answer"])]),
]


def make(kind, output, **options):
    provider = OpenAIProvider(openai_client=openai.AsyncOpenAI(**OPTIONS))
    settings = {"temperature": 0, "max_tokens": 60}
    chosen = kind(model, provider=provider)
    return Agent(chosen, output_type=output, model_settings=settings, retries=0, **options)


def agent(kind):
    weather = Weather()
    made = make(kind, NativeOutput(Report), tools=[weather.get_weather])
    check_agent(made.run_sync(QUESTION, message_history=SHOWN).output, weather)


def ways(kind):
    return {
        "tools": lambda: make(kind, ToolOutput(Report)).run_sync(QUESTION).output.city,
        "output": lambda: make(kind, NativeOutput(Report)).run_sync(QUESTION).output.city,
        "agent": lambda: agent(kind),
    }


WAYS = {"chat": ways(OpenAIChatModel), "responses": ways(OpenAIResponsesModel)}
