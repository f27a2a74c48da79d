"""Hugging Face's smolagents."""

from smolagents import OpenAIModel, ToolCallingAgent, tool
from ways import API_KEY, MESSAGES, QUESTION, RESULT, base_url, model

cities = []


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city

    Args:
        city: The city
    """
    cities.append(city)
    return RESULT


def chat():
    return OpenAIModel(
        model_id=model, api_base=base_url, api_key=API_KEY, temperature=0, max_tokens=60
    )


def agent():
    """The small model may call until the steps are over."""
    made = ToolCallingAgent(tools=[get_weather], model=chat(), max_steps=2, verbosity_level=0)
    assert made.run(QUESTION) is not None
    calls = [step for step in made.memory.steps if getattr(step, "tool_calls", None)]
    assert calls, made.memory.steps


WAYS = {
    "chat": {"text": lambda: None if chat()(MESSAGES).content else "nothing", "agent": agent},
}
