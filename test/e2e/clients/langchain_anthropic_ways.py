"""LangChain with the package for Anthropic's API."""

import langchain_ways
from langchain_anthropic import ChatAnthropic
from ways import API_KEY, base_url, model

chat = ChatAnthropic(
    model=model, base_url=base_url.removesuffix("/v1"), api_key=API_KEY, max_retries=0,
    temperature=0, max_tokens=60,
)
WAYS = {"messages": langchain_ways.ways(chat, no_call={"type": "none"})}
