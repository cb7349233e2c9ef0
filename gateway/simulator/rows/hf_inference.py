"""What TGI, the server behind hf-inference, refuses: provider wire formats, 3.5.

Errors of typing are text/plain, all others JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.simulator.rows.common import FIVE_STOPS, SCHEMA, TOOL, basics, row_of
from gateway.simulator.rules import (
    A_STRING,
    AN_OBJECT,
    Rule,
    above,
    below,
    beside,
    longer_than,
    not_between,
    outside,
    when,
)

_tgi = row_of("hf-inference", 422, form="validation", type="validation")
_TYPED: Final = {"form": "typing"}
_TYPING: Final = "Failed to deserialize the JSON body into the target type: {field}: invalid type"
_GRAMMARS: Final = ("json", "json_object", "regex", "json_schema")


def _grammar_schema(value: Any) -> Any:
    """The JSON schema of a TGI grammar, or None."""
    if not isinstance(value, Mapping) or value.get("type") == "regex":
        return None
    inner = value.get("value")
    return inner.get("schema") if value.get("type") == "json_schema" and isinstance(inner, Mapping) else inner


TGI: Final[tuple[Rule, ...]] = (
    *basics(_tgi, model_too=False, **_TYPED),
    _tgi("stop", A_STRING, {"stop": "END"}, "3.5 stop", "S", _TYPING, **_TYPED),
    _tgi("logit_bias", AN_OBJECT, {"logit_bias": {"1": 1}}, "3.5 logit_bias", "S", _TYPING, **_TYPED),
    _tgi("seed", below(0), {"seed": -1}, "3.5 seed", "S", _TYPING, **_TYPED),
    _tgi("max_tokens", below(0), {"max_tokens": -1}, "3.5 max_tokens", "S", _TYPING, **_TYPED),
    _tgi(
        "max_completion_tokens",
        when("beside max_tokens", lambda _v, body: "max_tokens" in body),
        {"max_tokens": 5, "max_completion_tokens": 5},
        "3.5 max_tokens, max_completion_tokens",
        "S",
        "Failed to deserialize the JSON body into the target type: duplicate field `max_tokens`",
        **_TYPED,
    ),
    _tgi(
        "response_format",
        when("of an unknown type", lambda v, _b: isinstance(v, Mapping) and v.get("type") not in _GRAMMARS),
        {"response_format": {"type": "text"}},
        "3.5 response_format",
        "S",
        "Failed to deserialize the JSON body into the target type: response_format: unknown variant",
        **_TYPED,
    ),
    _tgi(
        "response_format",
        when("without value", lambda v, _b: isinstance(v, Mapping) and "value" not in v),
        {"response_format": {"type": "json_object"}},
        "3.5 response_format",
        "S",
        "Failed to deserialize the JSON body into the target type: response_format: missing field `value`",
        **_TYPED,
    ),
    _tgi(
        "tools[]",
        when(
            "a function with parameters and arguments",
            lambda tool, _b: isinstance(tool, Mapping) and {"parameters", "arguments"} <= set(tool.get("function", {})),
        ),
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}, "arguments": {}}}]},
        "3.5 tools",
        "S",
        "Failed to deserialize the JSON body into the target type: tools: duplicate field `arguments`",
        **_TYPED,
    ),
    _tgi(
        "response_format",
        beside("tools"),
        {"tools": [TOOL], "response_format": {"type": "json", "value": SCHEMA}},
        "3.5 response_format + tools",
        "S",
        "Grammar and tools are mutually exclusive",
        form="tool_error",
        type="tool_error",
    ),
    _tgi(
        "response_format",
        when(
            "a schema without properties",
            lambda v, _b: isinstance(s := _grammar_schema(v), Mapping) and "properties" not in s,
        ),
        {"response_format": {"type": "json", "value": {"type": "object"}}},
        "3.5 response_format",
        "S",
        "Input validation error: Grammar must have a 'properties' field",
    ),
    _tgi("stop", longer_than(4), {"stop": FIVE_STOPS}, "3.5 stop", "S", "Input validation error: `stop` too many"),
    _tgi(
        "temperature",
        below(0),
        {"temperature": -0.5},
        "3.5 temperature",
        "S",
        "Input validation error: `temperature` must be strictly positive",
    ),
    _tgi(
        "top_p",
        not_between(0, 1),
        {"top_p": 1.0},
        "3.5 top_p",
        "S",
        "Input validation error: `top_p` must be > 0.0 and < 1.0",
    ),
    _tgi(
        "presence_penalty",
        when("-2 or less", lambda v, _b: isinstance(v, int | float) and v <= -2),
        {"presence_penalty": -2},
        "3.5 presence_penalty",
        "S",
        "Input validation error: `repetition_penalty` must be strictly positive",
    ),
    _tgi("frequency_penalty", outside(-2, 2), {"frequency_penalty": 3}, "3.5 frequency_penalty", "S"),
    _tgi("top_logprobs", above(5), {"logprobs": True, "top_logprobs": 6}, "3.5 top_logprobs", "S"),
)
