"""LlamaIndex."""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from ways import API_KEY, QUESTION, Report, Weather, base_url, model


def llm(**options):
    return OpenAILike(
        model=model, api_base=base_url, api_key=API_KEY, max_retries=0, is_chat_model=True,
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


WAYS = {
    "chat": {
        "tools": structured,
        "output": lambda: structured(should_use_structured_outputs=True),
        "agent with a call": agent,
    },
}
