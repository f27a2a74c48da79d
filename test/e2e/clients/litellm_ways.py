"""LiteLLM, which translates between APIs. Its row of an API lists what reaches the server as this API."""

import asyncio
import json

import litellm
from ways import API_KEY, CITY_SCHEMA, MESSAGES, QUESTION, RESULT, Report, base_url, model

litellm.suppress_debug_info = True
ACCESS = {"api_key": API_KEY, "num_retries": 0, "temperature": 0}
OPENAI = {**ACCESS, "api_base": base_url}
ANTHROPIC = {**ACCESS, "api_base": base_url.removesuffix("/v1")}
WEATHER = {"name": "get_weather", "description": "Get the weather of a city"}
FUNCTION = {"type": "function", "function": {**WEATHER, "parameters": CITY_SCHEMA}}
TOOL = {**WEATHER, "input_schema": CITY_SCHEMA}
AGAIN = {"role": "user", "content": "And in Rome?"}


def completion(options, **fields):
    return litellm.completion(**{"messages": MESSAGES, "max_tokens": 60, **options, **fields})


def answer_call(options, message):
    """Continues with the result of the call, then with another question. Returns the city of the call."""
    [call] = message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": RESULT}
    messages = [*MESSAGES, message, result]
    said = completion(options, messages=messages, tools=[FUNCTION], tool_choice="none")
    last = completion(options, messages=[*messages, said.choices[0].message, AGAIN])
    assert last.choices[0].message.content
    return json.loads(call.function.arguments)["city"]


def tools(options):
    answer = completion(options, tools=[FUNCTION], tool_choice="required")
    return answer_call(options, answer.choices[0].message)


def streamed(options):
    chunks = completion(options, tools=[FUNCTION], tool_choice="required", stream=True)
    built = litellm.stream_chunk_builder(list(chunks), messages=MESSAGES)
    return answer_call(options, built.choices[0].message)


def output(options):
    answer = completion(options, response_format=Report)
    return Report.model_validate_json(answer.choices[0].message.content).city


def completions(options):
    return {
        "tools": lambda: tools(options),
        "streamed tools": lambda: streamed(options),
        "output": lambda: output(options),
    }


def respond(**fields):
    whole = {"model": f"openai/{model}", "input": QUESTION, "max_output_tokens": 60}
    return litellm.responses(**{**whole, **OPENAI, **fields})


def responses():
    tool = {"type": "function", **WEATHER, "parameters": CITY_SCHEMA}
    called = respond(tools=[tool], tool_choice="required").output
    [call] = [item for item in called if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
    items = [*MESSAGES, *(item.model_dump() for item in called), result]
    assert respond(input=items, tools=[tool], tool_choice="none").output[0].content[0].text
    return json.loads(call.arguments)["city"]


def streamed_response():
    *_, last = respond(stream=True)
    assert last.type == "response.completed" and last.response.output, last


def message(options):
    """Asks with the function that takes Anthropic's form."""
    fields = {"messages": MESSAGES, "max_tokens": 60, "tools": [TOOL], "tool_choice": {"type": "any"}}
    answer = asyncio.run(litellm.anthropic.messages.acreate(**fields, **options))
    [use] = [block for block in answer["content"] if block["type"] == "tool_use"]
    return use["input"]["city"]


CHAT = {**OPENAI, "model": f"openai/{model}"}
#: Chats that LiteLLM translates to responses.
BRIDGE = {**OPENAI, "model": f"openai/responses/{model}"}
MESSAGE = {**ANTHROPIC, "model": f"anthropic/{model}"}
WAYS = {
    "chat": completions(CHAT),
    "responses": {
        **{f"{name} of a chat": way for name, way in completions(BRIDGE).items()},
        "tools": responses,
        "streamed text": streamed_response,
        "tools of a message": lambda: message(CHAT),
    },
    "messages": {
        **{f"{name} of a chat": way for name, way in completions(MESSAGE).items()},
        "tools": lambda: message(MESSAGE),
    },
}
