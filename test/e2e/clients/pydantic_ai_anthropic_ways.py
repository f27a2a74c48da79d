"""Pydantic AI with Anthropic's API."""

import anthropic
import pydantic_ai_ways
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from ways import API_KEY, base_url


def kind(model, provider):
    client = anthropic.AsyncAnthropic(
        base_url=base_url.removesuffix("/v1"), api_key=API_KEY, max_retries=0
    )
    return AnthropicModel(model, provider=AnthropicProvider(anthropic_client=client))


WAYS = {"messages": pydantic_ai_ways.ways(kind)}
