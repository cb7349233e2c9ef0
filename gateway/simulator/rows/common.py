"""What the rows of several providers share: makers of rows, samples, and the ranges of the vLLM family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.simulator.rules import (
    ABSENT,
    EMPTY_LIST,
    MISSING,
    NO_STOP,
    NOT_A_BOOLEAN,
    NOT_A_LIST,
    NOT_A_LIST_OR_NULL,
    NOT_A_NUMBER,
    NOT_AN_INTEGER,
    Refused,
    Rule,
    above,
    below,
    outside,
    when,
)

Row = Callable[..., Rule]

TOOL: Final = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
HELLO: Final = {"role": "user", "content": "hello"}
SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "string"}}}
FORMAT: Final = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
IMAGE: Final = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/cat.png"}}
FIVE_STOPS: Final = ["a", "b", "c", "d", "e"]


def row_of(provider: str, status: int, **common: Any) -> Row:
    """A maker of one provider's rows, with what they have in common."""

    def row(
        field: str,
        value: Refused,
        sample: Mapping[str, Any],
        facts: str,
        mark: str,
        message: str = "{field}: {value} is not accepted",
        **own: Any,
    ) -> Rule:
        given = {"status": status, **common, **own}
        return Rule(provider, field, value, message=message, facts=facts, mark=mark, sample=sample, **given)

    return row


def basics(
    row: Row, model_too: bool = True, wrong: str = "Input should be a valid {value}", **own: Any
) -> tuple[Rule, ...]:
    """What no chat server takes: no messages, no model, and values of the wrong type."""
    facts = "1.2, 3.x: wrong types"
    model = (row("model", MISSING, {"model": ABSENT}, facts, "U", "Field required", **own),) if model_too else ()
    return (
        *model,
        row("messages", MISSING, {"messages": ABSENT}, facts, "R", "Field required", **own),
        row("messages", NOT_A_LIST, {"messages": "hello"}, facts, "S", wrong, **own),
        row("temperature", NOT_A_NUMBER, {"temperature": "hot"}, facts, "S", wrong, **own),
        row("top_p", NOT_A_NUMBER, {"top_p": "most"}, facts, "S", wrong, **own),
        row("max_tokens", NOT_AN_INTEGER, {"max_tokens": "ten"}, facts, "S", wrong, **own),
        row("n", NOT_AN_INTEGER, {"n": "two"}, facts, "S", wrong, **own),
        row("top_logprobs", NOT_AN_INTEGER, {"top_logprobs": "two"}, facts, "S", wrong, **own),
        row("stop", NO_STOP, {"stop": 5}, facts, "S", wrong, **own),
        row("tools", NOT_A_LIST_OR_NULL, {"tools": "look"}, facts, "S", wrong, **own),
        row("tools[]", NO_FUNCTION, {"tools": [{"type": "function"}]}, facts, "S", wrong, **own),
        row("seed", NOT_AN_INTEGER, {"seed": "luck"}, facts, "S", wrong, **own),
        row("stream", NOT_A_BOOLEAN, {"stream": "yes"}, facts, "S", wrong, **own),
    )


def vllm_ranges(row: Row) -> tuple[Rule, ...]:
    """Ranges that every server of the vLLM family checks."""
    facts = "4, vLLM family"
    said = "{field} is out of range, got {value}"
    return (
        row("messages", EMPTY_LIST, {"messages": []}, facts, "S", "{field} must not be empty"),
        row("temperature", below(0), {"temperature": -1}, facts, "S", said),
        row("top_p", outside(1e-9, 1), {"top_p": 1.5}, facts, "S", said),
        row("frequency_penalty", outside(-2, 2), {"frequency_penalty": 3}, facts, "S", said),
        row("presence_penalty", outside(-2, 2), {"presence_penalty": 3}, facts, "S", said),
        row("max_tokens", below(1), {"max_tokens": 0}, facts, "S", said),
        row("top_logprobs", above(20), {"logprobs": True, "top_logprobs": 21}, "1.2 top_logprobs max", "S", said),
    )


OPTIONS_ALONE: Final = when("without stream", lambda value, body: value is not None and not body.get("stream"))
OPTIONS_SAMPLE: Final = {"stream": False, "stream_options": {"include_usage": True}}
OPTIONS_SAID: Final = "Stream options can only be defined when `stream=True`."


NO_FUNCTION: Final = when("no function", lambda tool, _body: not isinstance(tool.get("function"), Mapping))
UNSUPPORTED: Final = "property '{field}' is unsupported"


def json_schema(value: Any) -> Mapping[str, Any] | None:
    """The `json_schema` object of a `response_format`, if it has one."""
    inner = value.get("json_schema") if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else None
