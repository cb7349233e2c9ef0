"""The acceptance grid: who is asked for what, and what counts as an answer. Knows no client and no provider's form."""

from __future__ import annotations

import base64
import json
import tomllib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.clients.schema_check import check

FEATURES: Final = ("plain", "streamed", "tools", "schema", "image")


@dataclass(frozen=True, slots=True)
class Row:
    """A model of the Hub at one provider."""

    hub_model: str
    provider_model: str


@dataclass(frozen=True, slots=True)
class Place:
    """One provider of the grid."""

    provider: str
    chat: Row
    vision: Row
    calls_at_once: int
    streams_tell_usage: bool

    def rows(self, feature: str) -> tuple[Row, ...]:
        """The rows that must answer."""
        if feature in ("plain", "streamed"):
            return (self.chat,)
        return (self.vision,) if feature == "image" else (self.chat, self.vision)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a provider's cell is no answer. `named` is the feature's name in the message."""

    provider: str
    feature: str
    named: str
    reason: str
    source: str


_GRID: Final = tomllib.loads((Path(__file__).parent / "grid.toml").read_text())
PLACES: Final[Mapping[str, Place]] = {
    name: Place(
        name,
        Row(*entry["chat"]),
        Row(*entry["vision"]),
        entry.get("calls_at_once", 2),
        entry.get("streams_tell_usage", True),
    )
    for name, entry in _GRID["providers"].items()
}
REFUSALS: Final[Mapping[tuple[str, str], Refusal]] = {
    (entry["provider"], entry["feature"]): Refusal(**entry) for entry in _GRID["exceptions"]
}


def cells() -> Iterator[tuple[Place, str]]:
    for place in PLACES.values():
        for feature in FEATURES:
            yield place, feature


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client made of an answer, in the words of the specification."""

    text: str
    finish_reason: str | None
    calls: tuple[Call, ...] = ()
    tokens: tuple[int, int] | None = None
    """Of prompt and completion; None where nobody said."""
    pieces: int = 1
    """In how many parts the text came."""


class Refused(Exception):
    """What a client made of an error."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {error}")
        self.status = status
        self.error = error


QUESTION: Final = "What may I do in Paris and in Rome?"
CITY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: Final[list[Any]] = [
    {"type": "function", "function": {"name": name, "description": text, "parameters": CITY}}
    for name, text in (("get_weather", "The weather of a city"), ("list_sights", "What there is to see"))
]
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "population": {"type": "integer"},
        "mood": {"type": "string", "enum": ["sunny", "rainy"]},
        "sights": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "free": {"type": "boolean"}},
                "required": ["name", "free"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["city", "population", "mood", "sights"],
    "additionalProperties": False,
}


def _dot() -> str:
    """A picture of one pixel, as a data URL."""

    def part(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = part(b"IHDR", bytes([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]))
    png = b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(b"\0\0")) + part(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


IMAGE_URL: Final = _dot()


def fields(feature: str) -> dict[str, Any]:
    """What a request for a feature holds beside the model."""
    said: Any = QUESTION
    if feature == "image":
        said = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": IMAGE_URL}}]
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": said}]}
    if feature == "tools":
        asked |= {"tools": TOOLS, "tool_choice": "auto"}
    if feature == "schema":
        schema = {"name": "visit", "strict": True, "schema": SCHEMA}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    return asked


def assert_answers(answer: Answer, place: Place, feature: str) -> None:
    """That this is what the feature promises, wherever it comes from."""
    if feature == "tools":
        names = [tool["function"]["name"] for tool in TOOLS[: place.calls_at_once]]
        assert [call.name for call in answer.calls] == names
        for call in answer.calls:
            check(json.loads(call.arguments), CITY)
        assert answer.finish_reason == "tool_calls"
    else:
        assert answer.calls == ()
        assert answer.finish_reason == "stop"
    if feature == "schema":
        check(json.loads(answer.text), SCHEMA)
    if feature in ("plain", "streamed", "image"):
        assert QUESTION in answer.text
    if feature == "streamed":
        assert answer.pieces > 1
    if feature != "streamed" or place.streams_tell_usage:
        assert answer.tokens is not None
        assert min(answer.tokens) > 0


def assert_refuses(refused: Refused, cell: Refusal) -> None:
    """The contract's 400: it names the feature, and who lacks it."""
    assert refused.status == 400
    assert refused.error["type"] == "invalid_request_error"
    message = refused.error["message"]
    assert f"{cell.provider}: {cell.named}: " in message
