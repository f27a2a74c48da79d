"""Runs a client of Python in each of its ways.

usage: ways.py MODULE PACKAGE BASE_URL MODEL
MODULE, a file of this folder, has WAYS: by API, then by name, functions that ask a server. A way ends with None, or with the
city that the model's call or answer named. It raises if the client does not understand an answer. Ways that put a schema in words
are missing, because a small model does not follow them.
Prints one line of JSON: the version of PACKAGE, and for each way "ok" or what went wrong.
"""

import importlib
import importlib.metadata
import json
import sys
from typing import Literal

from pydantic import BaseModel

module_name, package, base_url, model = sys.argv[1:5]
API_KEY = "anything"
QUESTION = "What is the weather in Paris?"
MESSAGES = [{"role": "user", "content": QUESTION}]
City = Literal["Paris", "Rome"]
RESULT = "It is sunny."
#: A turn that shows the small model when to call and when to answer.
EXAMPLE = {
    "question": "What is the weather in Rome?",
    "arguments": {"city": "Rome"},
    "answer": '{"city":"Rome","sky":"sunny"}',
}
#: For OpenAI's client and those that pass its options on.
OPTIONS = {"base_url": base_url, "api_key": API_KEY, "max_retries": 0}


class Report(BaseModel):
    """The weather of a city"""

    city: City
    sky: Literal["sunny", "rainy"]


#: The schema of the tool's arguments.
CITY_SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}


class Weather:
    """A tool that remembers the cities of its calls."""

    def __init__(self):
        self.cities = []

    def get_weather(self, city: City) -> str:
        """Get the weather of a city"""
        self.cities.append(city)
        return RESULT


def check_agent(output, weather):
    """Checks an agent that chooses between a call and the answer in every step. A small model does not always choose the call."""
    assert all(weather.cities), weather.cities
    assert isinstance(output, Report), output


def outcome(way):
    try:
        city = way()
        return "ok" if city in (None, "Paris") else f"named {city}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]


if __name__ == "__main__":
    sys.modules["ways"] = sys.modules["__main__"]
    found = importlib.import_module(module_name).WAYS
    ways = {api: {name: outcome(way) for name, way in of.items()} for api, of in found.items()}
    print(json.dumps({"version": importlib.metadata.version(package), "ways": ways}))
