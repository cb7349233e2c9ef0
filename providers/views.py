"""How much of one stream event is looked at: typed views that msgspec fills in without building the rest.

A chunk that fits `ChunkView` is near enough to the clean dialect to be judged by a few comparisons; one that
does not fit is decoded as a whole and tidied. Together with `wire.py` this is where the cellar knows msgspec.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from providers.wire import JsonError, JsonObject, decode_json

__all__ = ["UNREADABLE", "UNSET", "ChunkView", "ToolCallView", "decode_object", "view_chunk"]

UNREADABLE: Final = (JsonError, UnicodeDecodeError, RecursionError)
"""What decoding raises: bad JSON, bad UTF-8, and nesting deeper than the stack."""


class FunctionView(Struct, gc=False):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallView(Struct):
    index: int
    function: FunctionView
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET


class DeltaView(Struct):
    role: str | UnsetType = UNSET
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallView] | None = None
    function_call: None = None
    """The form of 2023: one that is there does not fit, and is made a tool call."""


class LogprobsView(Struct):
    content: list[Raw] | None = None


class ChoiceView(Struct):
    index: int
    delta: DeltaView
    finish_reason: str | UnsetType | None = UNSET
    """Null until the end; a chunk without the word is tidied, since clients test for null."""
    logprobs: LogprobsView | None = None


class AsideView(Struct):
    """Groq's `x_groq`, which may hold the usage, or an error."""

    usage: Any = None
    error: Any = UNSET


class ChunkView(Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[ChoiceView]
    usage: Any = None
    error: Any = UNSET
    x_groq: AsideView | None = None


view_chunk = msgspec.json.Decoder(ChunkView).decode
"""Raises one of `UNREADABLE`, also where the JSON is good and merely of another shape."""


def decode_object(body: bytes) -> JsonObject | None:
    """The JSON object that `body` is, or None where it is anything else."""
    try:
        value = decode_json(body)
    except UNREADABLE:
        return None
    return value if isinstance(value, dict) else None
