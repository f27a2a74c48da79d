"""OpenAI's Agents SDK."""

import asyncio
import json

import agents
import openai
from ways import (
    EXAMPLE,
    OPTIONS,
    QUESTION,
    RESULT,
    Report,
    Weather,
    check_agent,
    model,
)

agents.set_tracing_disabled(True)
CALL = {"type": "function_call", "call_id": "call_1", "name": "get_weather"}
SHOWN = [
    {"role": "user", "content": EXAMPLE["question"]},
    {**CALL, "arguments": json.dumps(EXAMPLE["arguments"])},
    {"type": "function_call_output", "call_id": "call_1", "output": RESULT},
    {"role": "assistant", "content": EXAMPLE["answer"]},
]


def make(kind, tool_choice=None, **options):
    settings = agents.ModelSettings(temperature=0, max_tokens=60, tool_choice=tool_choice)
    chosen = kind(model=model, openai_client=openai.AsyncOpenAI(**OPTIONS))
    return agents.Agent(name="Paris", model=chosen, model_settings=settings, **options)


def run(agent, asked=QUESTION, **options):
    return agents.Runner.run_sync(agent, asked, **options)


def with_weather(kind, **options):
    weather = Weather()
    tool = agents.function_tool(weather.get_weather)
    return weather, make(kind, tools=[tool], **options)


def tools(kind):
    weather, agent = with_weather(kind, tool_choice="required")
    assert run(agent).final_output
    return weather.cities[0]


def streamed(kind):
    weather, agent = with_weather(kind, tool_choice="required")

    async def follow():
        result = agents.Runner.run_streamed(agent, QUESTION)
        names = [event.name async for event in result.stream_events() if "name" in vars(event)]
        return names, result.final_output

    names, output = asyncio.run(follow())
    assert names[:2] == ["tool_called", "tool_output"] and output, names
    return weather.cities[0]


def turns(kind):
    weather, agent = with_weather(kind, tool_choice="required")
    first = run(agent)
    again = [*first.to_input_list(), {"role": "user", "content": "And in Rome?"}]
    assert run(make(kind), again).final_output
    return weather.cities[0]


def chooses(kind):
    weather, agent = with_weather(kind, output_type=Report)
    # One turn is too little for the small model.
    asked = [*SHOWN, *SHOWN, {"role": "user", "content": QUESTION}]
    check_agent(run(agent, asked).final_output, weather)


def handoff(kind):
    expert = agents.Agent(name="expert", model=make(kind).model)
    assert run(make(kind, tool_choice="required", handoffs=[expert])).last_agent is expert


def kept():
    agent = make(agents.OpenAIResponsesModel)
    first = run(agent)
    second = run(agent, "And in Rome?", previous_response_id=first.last_response_id)
    [before, after] = [of.context_wrapper.usage for of in (first, second)]
    assert after.input_tokens > before.total_tokens


def conversation():
    session = agents.OpenAIConversationsSession(openai_client=openai.AsyncOpenAI(**OPTIONS))
    weather, agent = with_weather(agents.OpenAIResponsesModel, tool_choice="required")

    async def talk():
        await agents.Runner.run(agent, QUESTION, session=session)
        return await session.get_items()

    kinds = [item.get("type") for item in asyncio.run(talk())]
    assert kinds == ["message", "function_call", "function_call_output", "message"], kinds
    return weather.cities[0]


def ways(kind):
    return {
        "tools": lambda: tools(kind),
        "streamed tools": lambda: streamed(kind),
        "several turns": lambda: turns(kind),
        "output": lambda: run(make(kind, output_type=Report)).final_output.city,
        "handoff": lambda: handoff(kind),
    }


WAYS = {
    "chat": {
        **ways(agents.OpenAIChatCompletionsModel),
        "agent": lambda: chooses(agents.OpenAIChatCompletionsModel),
    },
    "responses": {
        **ways(agents.OpenAIResponsesModel),
        "previous response": kept,
        "conversation": conversation,
    },
}
