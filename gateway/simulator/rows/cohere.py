"""What Cohere's native v2 refuses: provider wire formats, 3.2.2. Refusals of unknown names are a choice (U)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from gateway.simulator.rows.common import FIVE_STOPS, FORMAT, TOOL, basics, row_of
from gateway.simulator.rules import (
    A_STRING,
    EMPTY_LIST,
    NOT_A_BOOLEAN,
    Rule,
    beside,
    longer_than,
    other_than,
    outside,
    unknown_to,
    when,
)

_cohere = row_of("cohere", 400)
_COHERE_KNOWN: Final = (
    "model messages stream tools strict_tools documents citation_options response_format safety_mode max_tokens "
    "stop_sequences temperature seed frequency_penalty presence_penalty k p logprobs tool_choice thinking priority"
)
_TOOL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BAD_TOOL: Final = {"type": "function", "function": {"name": "my-tool.v1", "parameters": {"type": "object"}}}
COHERE: Final[tuple[Rule, ...]] = (
    _cohere(
        "*",
        unknown_to(_COHERE_KNOWN),
        {"top_logprobs": 2},
        "3.2.2 no n, top_logprobs, logit_bias",
        "U",
        "unknown field: parameter '{field}' is not a valid field",
        status=422,
    ),
    *(
        rule
        for rule in basics(_cohere, wrong="invalid type: parameter {field} is of the wrong type")
        if rule.field not in ("top_p", "n", "top_logprobs", "stop")
    ),
    _cohere("messages", EMPTY_LIST, {"messages": []}, "3.2.2 messages", "U"),
    _cohere(
        "temperature",
        outside(0, 1),
        {"temperature": 1.5},
        "3.2.2 temperature",
        "I",
        "temperature must be between 0 and 1.0 inclusive",
    ),
    _cohere("p", outside(0.01, 0.99), {"p": 1.0}, "3.2.2 p", "S", "p must be between 0.01 and 0.99 inclusive"),
    _cohere("k", outside(0, 500), {"k": 501}, "3.2.2 k", "S"),
    _cohere("frequency_penalty", outside(0, 1), {"frequency_penalty": 1.5}, "3.2.2 penalties", "S"),
    _cohere("presence_penalty", outside(0, 1), {"presence_penalty": -0.5}, "3.2.2 penalties", "S"),
    _cohere("logprobs", NOT_A_BOOLEAN, {"logprobs": 2}, "3.2.2 logprobs", "S"),
    _cohere("stop_sequences", longer_than(5), {"stop_sequences": [*FIVE_STOPS, "f"]}, "3.2.2 stop_sequences", "S"),
    _cohere("stop_sequences", A_STRING, {"stop_sequences": "END"}, "3.2.2 stop_sequences", "S"),
    _cohere(
        "tool_choice",
        other_than("REQUIRED", "NONE"),
        {"tools": [TOOL], "tool_choice": "auto"},
        "3.2.2 tool_choice",
        "S",
    ),
    _cohere("tools", EMPTY_LIST, {"tools": []}, "3.2.2 tools", "I", "tools must not be empty"),
    _cohere(
        "tools[]",
        when(
            "a name with other signs than letters, digits and _",
            lambda tool, _b: not _TOOL_NAME.fullmatch(str(tool.get("function", {}).get("name"))),
        ),
        {"tools": [_BAD_TOOL]},
        "3.2.2 tools",
        "I",
        "{field}: invalid tool name",
    ),
    _cohere(
        "response_format",
        beside("tools"),
        {"tools": [TOOL], "response_format": {"type": "json_object"}},
        "3.2.2 response_format",
        "S",
        "response_format is not supported with tools",
    ),
    _cohere(
        "response_format",
        when(
            "of an unknown type", lambda v, _b: isinstance(v, Mapping) and v.get("type") not in ("text", "json_object")
        ),
        {"response_format": FORMAT},
        "3.2.2 response_format",
        "S",
    ),
)
