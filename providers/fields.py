"""The one table of chat-completion fields: type, range, and what it means to leave one out.

Read by three: the validation of a request, each adapter (which says what its provider makes of a field),
and the README's matrix. Pure; knows nothing of any provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final


class Support(Enum):
    """What a provider makes of a request field."""

    FORWARDED = "forwarded"
    RENAMED = "renamed"
    """Sent in the provider's own form."""
    DROPPED = "dropped"
    """The provider rejects it or breaks on it, and it is cosmetic: left out and named in `x-gateway-dropped`."""
    REFUSED = "refused"
    """It changes what the answer is, and the provider cannot do it: the provider is no candidate."""


class Feature(Enum):
    """What a request needs of a provider. The value is the name in messages."""

    TOOLS = "tools"
    FORCED_TOOL_CHOICE = "a forced tool_choice"
    PARALLEL_TOOL_CALLS = "parallel tool calls"
    JSON_OBJECT = "response_format json_object"
    JSON_SCHEMA = "response_format json_schema"
    REGEX = "response_format regex"
    TOOLS_WITH_FORMAT = "tools together with response_format"
    IMAGES = "images"
    IMAGE_URLS = "images by http URL"
    LOGPROBS = "logprobs"
    MANY_CHOICES = "n > 1"
    TOOL_PROMPT = "tool_prompt"


@dataclass(frozen=True, slots=True)
class Field:
    """One request field. `low` and `high` bound a number, or the length of a list or string, both included."""

    name: str
    kind: str
    """`number`, `integer`, `boolean`, `string`, `object`, `list` or `any` (checked elsewhere, or not at all)."""
    low: float | None = None
    high: float | None = None
    changes_answer: bool = False
    """Leaving it out would change what the answer is, so a provider that cannot do it is no candidate."""


FIELDS: Final[Mapping[str, Field]] = {
    f.name: f
    for f in (
        Field("frequency_penalty", "number", -2, 2),
        Field("logit_bias", "object"),
        Field("logprobs", "boolean", changes_answer=True),
        Field("max_completion_tokens", "integer", 1),
        Field("max_tokens", "integer", 1),
        Field("messages", "list", 1, 4096, changes_answer=True),
        Field("n", "integer", 1, 128, changes_answer=True),
        Field("parallel_tool_calls", "boolean"),
        Field("presence_penalty", "number", -2, 2),
        Field("reasoning_effort", "string"),
        Field("response_format", "object", changes_answer=True),
        Field("seed", "integer"),
        Field("stop", "list", 0, 4),
        Field("stream", "boolean"),
        Field("stream_options", "object"),
        Field("temperature", "number", 0, 2),
        Field("tool_choice", "any", changes_answer=True),
        Field("tool_prompt", "string", changes_answer=True),
        Field("tools", "list", 0, 256, changes_answer=True),
        Field("top_logprobs", "integer", 0, 5, changes_answer=True),
        Field("top_p", "number", 0, 1),
        Field("user", "string"),
    )
}


_FEATURE_FIELDS: Final = frozenset({"response_format", "tools", "logprobs", "n", "tool_prompt"})
_NONE: Final[frozenset[Feature]] = frozenset()


def features_of(body: Mapping[str, Any], *, images: int) -> frozenset[Feature]:
    """What a canonical request body (see `ChatRequest`), with so many images, needs of whoever answers it."""
    if not images and _FEATURE_FIELDS.isdisjoint(body):
        return _NONE
    needs: set[Feature] = set()
    format_type = (body.get("response_format") or {}).get("type", "text")
    if format_type == "json_object":
        needs.add(Feature.JSON_OBJECT)
    elif format_type == "json_schema":
        needs.add(Feature.JSON_SCHEMA)
    elif format_type == "regex":
        needs.add(Feature.REGEX)
    if body.get("tools"):
        needs.add(Feature.TOOLS)
        if format_type != "text":
            needs.add(Feature.TOOLS_WITH_FORMAT)
        choice = body.get("tool_choice")
        if choice == "required" or isinstance(choice, dict):
            needs.add(Feature.FORCED_TOOL_CHOICE)
        if body.get("parallel_tool_calls"):
            needs.add(Feature.PARALLEL_TOOL_CALLS)
    if body.get("logprobs"):
        needs.add(Feature.LOGPROBS)
    if (body.get("n") or 1) > 1:
        needs.add(Feature.MANY_CHOICES)
    if body.get("tool_prompt"):
        needs.add(Feature.TOOL_PROMPT)
    for message in body["messages"] if images else ():
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                if part.get("type") == "image_url":
                    needs.add(Feature.IMAGES)
                    if not part["image_url"]["url"].startswith("data:"):
                        needs.add(Feature.IMAGE_URLS)
    return frozenset(needs)
