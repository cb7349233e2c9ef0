"""What SambaNova refuses: provider wire formats, 3.10."""

from __future__ import annotations

from typing import Final

from gateway.simulator.ask import image_urls
from gateway.simulator.rows.common import IMAGE, SCHEMA, TOOL, basics, json_schema, row_of
from gateway.simulator.rules import EMPTY_LIST, Rule, longer_than, other_than, outside, when

_sambanova = row_of("sambanova", 400, type="invalid_request_error")
_OVER: Final = {"code": "decimal_above_max_value"}
SAMBANOVA: Final[tuple[Rule, ...]] = (
    *basics(_sambanova, code="invalid_type"),
    _sambanova(
        "messages",
        EMPTY_LIST,
        {"messages": []},
        "3.10 errors",
        "S",
        "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        code="empty_array",
    ),
    _sambanova(
        "messages[]",
        when("a user without content", lambda m, _b: m.get("role") == "user" and m.get("content") is None),
        {"messages": [{"role": "user", "content": None}]},
        "3.10 messages",
        "S",
        code="invalid_type",
    ),
    _sambanova(
        "messages[]",
        when("an image by http URL", lambda m, _b: any(not url.startswith("data:") for url in image_urls(m))),
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        "3.10 image_url",
        "S",
        "Invalid image: only base64 data URLs are supported",
        code="invalid_value",
    ),
    _sambanova("temperature", outside(0, 2), {"temperature": 2.5}, "3.10 temperature", "S", **_OVER),
    _sambanova("top_p", outside(0, 1), {"top_p": 1.5}, "3.10 top_p", "S", **_OVER),
    _sambanova("frequency_penalty", outside(-2, 2), {"frequency_penalty": 3}, "3.10 penalties", "S", **_OVER),
    _sambanova("presence_penalty", outside(-2, 2), {"presence_penalty": 3}, "3.10 penalties", "S", **_OVER),
    _sambanova(
        "top_logprobs", outside(0, 20), {"top_logprobs": 21}, "3.10 top_logprobs", "S", code="integer_above_max_value"
    ),
    _sambanova("n", outside(1, 8), {"n": 9}, "3.10 n", "S", code="integer_above_max_value"),
    _sambanova("tools", longer_than(128), {"tools": [TOOL] * 129}, "3.10 tools", "S", code="invalid_value"),
    _sambanova(
        "reasoning_effort",
        other_than("low", "medium", "high"),
        {"reasoning_effort": "none"},
        "3.10 reasoning",
        "S",
        code="invalid_value",
    ),
    _sambanova(
        "response_format",
        when("a strict schema", lambda v, _b: bool((s := json_schema(v)) and s.get("strict") is True)),
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}},
        "3.10 response_format: the hub forces strict to false",
        "U",
        code="invalid_value",
    ),
)
