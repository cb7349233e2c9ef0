"""What Cerebras refuses: provider wire formats, 3.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.simulator.rows.common import FIVE_STOPS, HELLO, SCHEMA, basics, json_schema, row_of
from gateway.simulator.rules import EMPTY_LIST, PRESENT, Rule, longer_than, outside, unknown_to, when

_CEREBRAS_KNOWN: Final = (
    "model messages stream stream_options max_tokens max_completion_tokens temperature top_p seed stop n "
    "logprobs top_logprobs tools tool_choice response_format reasoning_effort reasoning_format "
    "clear_thinking disable_reasoning user prediction"
)
_CEREBRAS_MESSAGE: Final = {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning"}
_cerebras = row_of("cerebras", 400, code="wrong_api_format", type="invalid_request_error")


def _closed(schema: Any) -> bool:
    """Whether every object of a schema forbids further properties."""
    if isinstance(schema, list):
        return all(map(_closed, schema))
    if not isinstance(schema, Mapping):
        return True
    shut = schema.get("type") != "object" or schema.get("additionalProperties") is False
    return shut and all(map(_closed, schema.values()))


CEREBRAS: Final[tuple[Rule, ...]] = (
    *(
        _cerebras(name, PRESENT, {name: sample}, "3.1 penalties, logit_bias", "D", "{field} is not supported")
        for name, sample in {
            "frequency_penalty": 0.5,
            "presence_penalty": 0.5,
            "parallel_tool_calls": True,
            "service_tier": "auto",
            "logit_bias": {"1": 1},
        }.items()
    ),
    _cerebras(
        "*",
        unknown_to(_CEREBRAS_KNOWN),
        {"tool_prompt": "use them"},
        "3.1 unknown body property",
        "I",
        "body.{field}: property '{field}' is unsupported",
    ),
    *basics(_cerebras),
    _cerebras(
        "messages[]",
        when("an unknown property", lambda m, _b: isinstance(m, Mapping) and bool(set(m) - _CEREBRAS_MESSAGE)),
        {"messages": [HELLO, {"role": "assistant", "content": "hi", "reasoning_content": "hm"}, HELLO]},
        "3.1 unknown message property",
        "I",
        "{field}: property is unsupported",
    ),
    _cerebras("messages", EMPTY_LIST, {"messages": []}, "3.1 messages", "U"),
    _cerebras("temperature", outside(0, 2), {"temperature": 2.5}, "3.1 temperature", "S"),
    _cerebras("stop", longer_than(4), {"stop": FIVE_STOPS}, "3.1 stop", "S"),
    _cerebras("top_logprobs", outside(0, 20), {"logprobs": True, "top_logprobs": 21}, "3.1 top_logprobs", "S"),
    _cerebras(
        "response_format",
        when("a schema without name", lambda v, _b: bool((s := json_schema(v)) is not None and not s.get("name"))),
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        "3.1 response_format",
        "I",
        "{field}.type: Input should be 'text'",
    ),
    _cerebras(
        "response_format",
        when(
            "strict, with an open object",
            lambda v, _b: bool((s := json_schema(v)) and s.get("strict") is True and not _closed(s.get("schema"))),
        ),
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}},
        "3.1 response_format",
        "I",
        "{field}: 'additionalProperties' is required to be supplied and to be false",
    ),
    _cerebras(
        "disable_reasoning",
        when("true for gpt-oss", lambda v, body: v is True and "gpt-oss" in str(body.get("model"))),
        {"model": "gpt-oss-120b", "disable_reasoning": True},
        "3.1 reasoning_effort",
        "S",
    ),
)
