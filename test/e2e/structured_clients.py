"""Structured output and tools by a client of Python, in each of the client's ways.

usage: structured_clients.py CLIENT BASE_URL MODEL
Prints one line of JSON: what each way ended with. The client has checked it against its schema. Ways that put the schema in
words are missing, because a small model does not follow them. An agent with `auto` in its name chooses in every step between a
call and the final answer, after a turn that shows how. A small model does not always choose the call.
"""

import asyncio
import json
import sys
from typing import Literal

import openai
from pydantic import BaseModel

client_name, base_url, model = sys.argv[1:4]
QUESTION = "What is the weather in Paris?"
MESSAGES = [{"role": "user", "content": QUESTION}]
OPTIONS = {"base_url": base_url, "api_key": "anything", "max_retries": 0}
City = Literal["Paris", "Rome"]


class Report(BaseModel):
    """The weather of a city"""

    city: City
    sky: Literal["sunny", "rainy"]


class Weather:
    """A tool that remembers the cities of its calls."""

    def __init__(self):
        self.cities = []

    def get_weather(self, city: City) -> str:
        """Get the weather of a city"""
        self.cities.append(city)
        return "It is sunny."


def ended(output, weather):
    """Whatever the model chose, its calls and its answer are valid."""
    assert all(weather.cities), weather.cities
    return type(output).__name__


EXAMPLE = {
    "question": "What is the weather in Rome?",
    "arguments": {"city": "Rome"},
    "result": "It is sunny.",
    "answer": '{"city":"Rome","sky":"sunny"}',
}


def openai_ways():
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

    def responses_create():
        called = client.responses.create(**respond, **required).output
        result = {
            "type": "function_call_output", "call_id": called[0].call_id, "output": "It is sunny.",
        }
        after = {**respond, "input": [*MESSAGES, *called, result]}
        assert client.responses.create(**after).output_text
        return json.loads(called[0].arguments)["city"]

    ways = (parse, stream, stream_tools, responses_parse, responses_stream, responses_create)
    return {way.__name__: way for way in ways}


def instructor_ways():
    import instructor

    def ask(mode):
        client = instructor.from_openai(openai.OpenAI(**OPTIONS), mode=instructor.Mode[mode])
        made = client.chat.completions.create(
            model=model, response_model=Report, messages=MESSAGES, max_retries=0, temperature=0,
            max_tokens=60,
        )
        return made.city

    modes = ("TOOLS", "TOOLS_STRICT", "JSON_SCHEMA")
    return {mode: lambda mode=mode: ask(mode) for mode in modes}


def pydantic_ai_ways():
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

    def ask(kind, output):
        provider = OpenAIProvider(openai_client=openai.AsyncOpenAI(**OPTIONS))
        settings = {"temperature": 0, "max_tokens": 60}
        agent = Agent(
            kind(model, provider=provider), output_type=output, model_settings=settings, retries=0
        )
        return agent.run_sync(QUESTION).output.city

    def agent(kind):
        provider = OpenAIProvider(openai_client=openai.AsyncOpenAI(**OPTIONS))
        settings = {"temperature": 0, "max_tokens": 60}
        weather = Weather()
        made = Agent(
            kind(model, provider=provider), output_type=NativeOutput(Report), retries=0,
            tools=[weather.get_weather], model_settings=settings,
        )
        shown = [
            ModelRequest([UserPromptPart(EXAMPLE["question"])]),
            ModelResponse([ToolCallPart("get_weather", EXAMPLE["arguments"], "call_1")]),
            ModelRequest([ToolReturnPart("get_weather", EXAMPLE["result"], "call_1")]),
            ModelResponse([TextPart(EXAMPLE["answer"])]),
        ]
        output = made.run_sync(QUESTION, message_history=shown).output
        return ended(output, weather)

    return {
        "agent auto": lambda: agent(OpenAIChatModel),
        "responses agent auto": lambda: agent(OpenAIResponsesModel),
        "tools": lambda: ask(OpenAIChatModel, ToolOutput(Report)),
        "native": lambda: ask(OpenAIChatModel, NativeOutput(Report)),
        "responses tools": lambda: ask(OpenAIResponsesModel, ToolOutput(Report)),
        "responses native": lambda: ask(OpenAIResponsesModel, NativeOutput(Report)),
    }


def agents_ways():
    import agents

    agents.set_tracing_disabled(True)

    def run(kind, tool_choice=None, **options):
        settings = agents.ModelSettings(temperature=0, max_tokens=60, tool_choice=tool_choice)
        chosen = kind(model=model, openai_client=openai.AsyncOpenAI(**OPTIONS))
        agent = agents.Agent(name="Paris", model=chosen, model_settings=settings, **options)
        return agents.Runner.run_sync(agent, QUESTION)

    def tools(kind):
        weather = Weather()
        tool = agents.function_tool(weather.get_weather)
        assert run(kind, tool_choice="required", tools=[tool]).final_output
        return weather.cities[0]

    def auto():
        weather = Weather()
        chosen = agents.OpenAIChatCompletionsModel(
            model=model, openai_client=openai.AsyncOpenAI(**OPTIONS)
        )
        settings = agents.ModelSettings(temperature=0, max_tokens=60)
        agent = agents.Agent(
            name="Paris", model=chosen, model_settings=settings, output_type=Report,
            tools=[agents.function_tool(weather.get_weather)],
        )
        called = {"type": "function_call", "call_id": "call_1", "name": "get_weather"}
        shown = [
            {"role": "user", "content": EXAMPLE["question"]},
            {**called, "arguments": json.dumps(EXAMPLE["arguments"])},
            {"type": "function_call_output", "call_id": "call_1", "output": EXAMPLE["result"]},
            {"role": "assistant", "content": EXAMPLE["answer"]},
        ]
        # One turn is too little for it.
        asked = [*shown, *shown, {"role": "user", "content": QUESTION}]
        output = agents.Runner.run_sync(agent, asked).final_output
        return ended(output, weather)

    def handoff(kind):
        chosen = kind(model=model, openai_client=openai.AsyncOpenAI(**OPTIONS))
        settings = agents.ModelSettings(temperature=0, max_tokens=60)
        expert = agents.Agent(name="expert", model=chosen, model_settings=settings)
        return run(kind, tool_choice="required", handoffs=[expert]).last_agent.name

    kinds = {
        "": agents.OpenAIChatCompletionsModel,
        "responses ": agents.OpenAIResponsesModel,
    }
    return {"agent auto": auto} | {
        name: way
        for prefix, kind in kinds.items()
        for name, way in {
            f"{prefix}tools": lambda kind=kind: tools(kind),
            f"{prefix}handoff": lambda kind=kind: handoff(kind),
            f"{prefix}output": lambda kind=kind: run(kind, output_type=Report).final_output.city,
        }.items()
    }


def langchain_ways():
    from langchain.agents import create_agent
    from langchain.agents.middleware import wrap_model_call
    from langchain.agents.structured_output import ProviderStrategy
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
    from langchain_openai import ChatOpenAI

    def chat(**options):
        return ChatOpenAI(model=model, temperature=0, max_tokens=60, **OPTIONS, **options)

    def structured(method, **options):
        return chat(**options).with_structured_output(Report, method=method).invoke(QUESTION).city

    def bind_tools(**options):
        bound = chat(**options).bind_tools([Report], tool_choice="Report")
        first, *rest = bound.stream(QUESTION)
        called = sum(rest, first)
        [call] = called.tool_calls
        result = ToolMessage("It is sunny.", tool_call_id=call["id"])
        assert chat(**options).invoke([HumanMessage(QUESTION), called, result]).text
        return call["args"]["city"]

    @wrap_model_call
    def call_once(request, handler):
        has_result = isinstance(request.messages[-1], ToolMessage)
        return handler(request.override(tool_choice="none" if has_result else "any"))

    def agent():
        weather = Weather()
        made = create_agent(chat(), tools=[weather.get_weather], middleware=[call_once])
        assert made.invoke({"messages": MESSAGES})["messages"][-1].text
        return weather.cities[0]

    def auto():
        weather = Weather()
        made = create_agent(
            chat(), tools=[weather.get_weather], response_format=ProviderStrategy(Report)
        )
        call = {"name": "get_weather", "args": EXAMPLE["arguments"], "id": "call_1"}
        shown = [
            HumanMessage(EXAMPLE["question"]),
            AIMessage("", tool_calls=[call]),
            ToolMessage(EXAMPLE["result"], tool_call_id="call_1"),
            AIMessage(EXAMPLE["answer"]),
            HumanMessage(QUESTION),
        ]
        output = made.invoke({"messages": shown})["structured_response"]
        return ended(output, weather)

    responses = {"use_responses_api": True}
    return {
        "agent auto": auto,
        "tools": lambda: structured("function_calling"),
        "schema": lambda: structured("json_schema"),
        "responses tools": lambda: structured("function_calling", **responses),
        "responses schema": lambda: structured("json_schema", **responses),
        "bind_tools": bind_tools,
        "responses bind_tools": lambda: bind_tools(**responses),
        "agent": agent,
    }


def llama_index_ways():
    from llama_index.core.agent.workflow import FunctionAgent
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    def llm(**options):
        return OpenAILike(
            model=model, api_base=base_url, api_key="anything", max_retries=0, is_chat_model=True,
            is_function_calling_model=True, context_window=2048, temperature=0, max_tokens=60,
            **options,
        )

    def structured(**options):
        writer = llm(**options).as_structured_llm(Report)
        return writer.chat([ChatMessage(role="user", content=QUESTION)]).raw.city

    def agent():
        weather = Weather()

        async def run():
            made = FunctionAgent(
                tools=[weather.get_weather], llm=llm(), initial_tool_choice="get_weather"
            )
            return await made.run(QUESTION)

        assert str(asyncio.run(run()))
        return weather.cities[0]

    return {
        "tools": structured,
        "schema": lambda: structured(should_use_structured_outputs=True),
        "agent": agent,
    }


CLIENTS = {
    "openai": openai_ways,
    "instructor": instructor_ways,
    "pydantic-ai": pydantic_ai_ways,
    "openai-agents": agents_ways,
    "langchain": langchain_ways,
    "llama-index": llama_index_ways,
}
print(json.dumps({way: run() for way, run in CLIENTS[client_name]().items()}))
