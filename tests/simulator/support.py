"""Good requests of every simulated provider, and what is read from their answers without any adapter."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.simulator.registry import BASE_PATHS, HOUSES
from gateway.simulator.rules import ABSENT
from gateway.simulator.wire import Tally, reported

PROVIDERS = tuple(HOUSES)
KEY = {"authorization": "Bearer sim-test"}
HELLO = [{"role": "user", "content": "Tell me about rivers, please"}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}},
]


def chat_url(base: str, provider: str, model: str) -> str:
    """Where a provider takes chats."""
    root = base + BASE_PATHS[provider]
    if provider == "cohere":
        return f"{root}/chat"
    return f"{root}/models/{model}/v1/chat/completions" if provider == "hf-inference" else f"{root}/chat/completions"


def plain_model(provider: str) -> str:
    """A model of the provider's list that does not think aloud."""
    return next(m for m in HOUSES[provider].models if "r1" not in m.lower() and "qwen" not in m.lower())


def good_body(provider: str, **fields: Any) -> dict[str, Any]:
    """A request the provider takes, with these fields on top; ABSENT takes one out."""
    body = {"model": plain_model(provider), "messages": copy.deepcopy(HELLO), **fields}
    return {name: value for name, value in body.items() if value is not ABSENT}


@dataclass(frozen=True)
class Event:
    """One server-sent event as read off the wire."""

    name: str
    data: Any


def events(text: str) -> Iterator[Event]:
    """The events of a stream, comments left out; data is JSON or the string it was."""
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.split("\n") if line and not line.startswith(":")]
        data = "".join(value for field, _, value in lines if field == "data")
        name = "".join(value for field, _, value in lines if field == "event")
        if data:
            yield Event(name, data if data == "[DONE]" else json.loads(data))


def last_tally(text: str) -> Tally | None:
    """The last usage of a stream."""
    found = None
    for event in events(text):
        found = reported(event.data) or found
    return found


def content_of(answer: Mapping[str, Any]) -> str:
    """The text of a plain answer, cohere's blocks included."""
    message = answer["message"] if "message" in answer else answer["choices"][0]["message"]
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def streamed_content(text: str) -> str:
    """The text of a stream."""
    said = ""
    for event in events(text):
        if not isinstance(event.data, dict):
            continue
        for choice in event.data.get("choices", ()):
            said += choice["delta"].get("content") or ""
        if event.data.get("type") == "content-delta":
            said += event.data["delta"]["message"]["content"].get("text", "")
    return said


def calls_of(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, arguments) of the calls of a plain answer."""
    message = answer["message"] if "message" in answer else answer["choices"][0]["message"]
    return [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or ()]


def streamed_calls(text: str) -> list[tuple[str, str]]:
    """(name, arguments) of the calls of a stream, put together by index."""
    found: dict[int, list[str]] = {}
    for event in events(text):
        if not isinstance(event.data, dict):
            continue
        if str(event.data.get("type", "")).startswith("tool-call-") and "delta" in event.data:
            parts = [{"index": event.data["index"], **event.data["delta"]["message"]["tool_calls"]}]
        else:
            choices = event.data.get("choices") or [{"delta": {}}]
            parts = choices[0]["delta"].get("tool_calls") or []
        for part in parts:
            call = found.setdefault(part["index"], ["", ""])
            call[0] += part["function"].get("name") or ""
            call[1] += part["function"].get("arguments") or ""
    return [(name, arguments) for name, arguments in found.values()]
