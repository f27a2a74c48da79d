"""Anthropic's client."""

import anthropic
from ways import API_KEY, CITY_SCHEMA, MESSAGES, RESULT, Report, base_url, model

client = anthropic.Anthropic(
    base_url=base_url.removesuffix("/v1"), api_key=API_KEY, max_retries=0
)
TOOL = {"name": "get_weather", "description": "Get the weather of a city", "input_schema": CITY_SCHEMA}
ask = {
    "model": model, "max_tokens": 60, "messages": MESSAGES,
    # Its methods take no temperature.
    "extra_body": {"temperature": 0},
}
forced = {**ask, "tools": [TOOL], "tool_choice": {"type": "any"}}


def answer_call(message):
    """Continues with the result of the message's call. Returns the city of the call."""
    [use] = [block for block in message.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": use.id, "content": RESULT}
    said = [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    last = client.messages.create(**{**ask, "messages": [*MESSAGES, *said], "tools": [TOOL]})
    assert last.content
    return use.input["city"]


def streamed():
    with client.messages.stream(**forced) as stream:
        return answer_call(stream.get_final_message())


def text():
    with client.messages.stream(**ask) as stream:
        assert "".join(stream.text_stream)
    assert client.messages.create(**ask).content[0].text


def count():
    counted = client.messages.count_tokens(model=model, messages=MESSAGES).input_tokens
    usage = client.messages.create(**ask).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


WAYS = {
    "messages": {
        "text": text,
        "tools": lambda: answer_call(client.messages.create(**forced)),
        "streamed tools": streamed,
        "output": lambda: client.messages.parse(**ask, output_format=Report).parsed_output.city,
        "token counts": count,
    },
}
