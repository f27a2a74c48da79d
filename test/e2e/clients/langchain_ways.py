"""LangChain, whose agents are graphs of LangGraph."""

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from ways import (
    EXAMPLE,
    MESSAGES,
    OPTIONS,
    QUESTION,
    RESULT,
    Report,
    Weather,
    check_agent,
    model,
)


def call_once(no_call):
    @wrap_model_call
    def choose(request, handler):
        has_result = isinstance(request.messages[-1], ToolMessage)
        return handler(request.override(tool_choice=no_call if has_result else "any"))

    return choose


def openai(**options):
    return ChatOpenAI(model=model, temperature=0, max_tokens=60, **OPTIONS, **options)


def structured(chat, method):
    return chat.with_structured_output(Report, method=method).invoke(QUESTION).city


def streamed(chat):
    bound = chat.bind_tools([Report], tool_choice="Report")
    first, *rest = bound.stream(QUESTION)
    called = sum(rest, first)
    [call] = called.tool_calls
    result = ToolMessage(RESULT, tool_call_id=call["id"])
    assert chat.invoke([HumanMessage(QUESTION), called, result]).text
    return call["args"]["city"]


def agent(chat, no_call):
    weather = Weather()
    made = create_agent(chat, tools=[weather.get_weather], middleware=[call_once(no_call)])
    assert made.invoke({"messages": MESSAGES})["messages"][-1].text
    return weather.cities[0]


def chooses(chat):
    weather = Weather()
    made = create_agent(
        chat, tools=[weather.get_weather], response_format=ProviderStrategy(Report)
    )
    call = {"name": "get_weather", "args": EXAMPLE["arguments"], "id": "call_1"}
    shown = [
        HumanMessage(EXAMPLE["question"]),
        AIMessage("", tool_calls=[call]),
        ToolMessage(RESULT, tool_call_id="call_1"),
        AIMessage(EXAMPLE["answer"]),
        HumanMessage(QUESTION),
    ]
    output = made.invoke({"messages": shown})["structured_response"]
    check_agent(output, weather)


def ways(chat, no_call="none"):
    """`no_call` is the choice of no tool, as the package for an API takes it."""
    return {
        "tools": lambda: structured(chat, "function_calling"),
        "output": lambda: structured(chat, "json_schema"),
        "streamed tools": lambda: streamed(chat),
        "agent with a call": lambda: agent(chat, no_call),
    }


WAYS = {
    "chat": {**ways(openai()), "agent": lambda: chooses(openai())},
    "responses": ways(openai(use_responses_api=True)),
}
