"""OpenAI's client."""

import json

import openai
from ways import MESSAGES, OPTIONS, QUESTION, RESULT, Report, model

client = openai.OpenAI(**OPTIONS)
chat = {"model": model, "messages": MESSAGES, "temperature": 0, "max_tokens": 60}
respond = {"model": model, "input": QUESTION, "temperature": 0, "max_output_tokens": 60}
forced = {"tools": [openai.pydantic_function_tool(Report)], "tool_choice": "required"}
function = {"type": "function", "name": "Report", "parameters": Report.model_json_schema()}
required = {"tools": [{**function, "strict": False}], "tool_choice": "required"}


def parse():
    answer = client.chat.completions.parse(**chat, response_format=Report)
    return answer.choices[0].message.parsed.city


def stream():
    with client.chat.completions.stream(**chat, response_format=Report) as events:
        return events.get_final_completion().choices[0].message.parsed.city


def stream_tools():
    with client.chat.completions.stream(**chat, **forced) as events:
        calls = events.get_final_completion().choices[0].message.tool_calls
    return calls[0].function.parsed_arguments.city


def responses_parse():
    return client.responses.parse(**respond, text_format=Report).output_parsed.city


def responses_stream():
    with client.responses.stream(**respond, text_format=Report) as events:
        return events.get_final_response().output_parsed.city


def responses_tools():
    called = client.responses.create(**respond, **required).output
    result = {"type": "function_call_output", "call_id": called[0].call_id, "output": RESULT}
    after = {**respond, "input": [*MESSAGES, *called, result]}
    assert client.responses.create(**after).output_text
    return json.loads(called[0].arguments)["city"]


def kept():
    first = client.responses.create(**respond)
    second = client.responses.create(
        **{**respond, "input": "And in Rome?"}, previous_response_id=first.id
    )
    assert second.output_text and second.usage.input_tokens > first.usage.total_tokens


def conversation():
    kept_id = client.conversations.create().id
    client.responses.create(**respond, conversation=kept_id)
    listed = list(client.conversations.items.list(kept_id, order="asc"))
    assert [item.role for item in listed] == ["user", "assistant"], listed


WAYS = {
    "chat": {"output": parse, "streamed output": stream, "streamed tools": stream_tools},
    "responses": {
        "output": responses_parse,
        "streamed output": responses_stream,
        "tools": responses_tools,
        "previous response": kept,
        "conversation": conversation,
    },
}
