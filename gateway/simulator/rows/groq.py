"""What Groq refuses: provider wire formats, 3.4."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from gateway.simulator.rows.common import FIVE_STOPS, FORMAT, HELLO, TOOL, UNSUPPORTED, basics, row_of
from gateway.simulator.rules import EMPTY_LIST, EVEN_NULL, PRESENT, Rule, beside, longer_than, other_than, outside, when

_groq = row_of("groq", 400, type="invalid_request_error")
_GROQ_SCHEMALESS_MODELS: Final = re.compile(r"llama-3\.[12]|llama3|gemma|mixtral")
"""Which models these are is not documented; the older generations stand for them."""
GROQ: Final[tuple[Rule, ...]] = (
    *basics(_groq),
    _groq("messages", EMPTY_LIST, {"messages": []}, "3.4 messages", "U"),
    *(
        _groq(name, PRESENT, {name: sample}, "3.4 documented as 400", "D", UNSUPPORTED)
        for name, sample in {"logprobs": True, "top_logprobs": 2, "logit_bias": {"1": 1}}.items()
    ),
    *(
        _groq(name, PRESENT, {name: sample}, "3.4 metadata, store: unsupported", "D", UNSUPPORTED)
        for name, sample in {"metadata": {"a": "b"}, "store": True}.items()
    ),
    _groq(
        "messages[].name",
        EVEN_NULL,
        {"messages": [{**HELLO, "name": "Ada"}]},
        "3.4 messages[].name",
        "D",
        UNSUPPORTED,
    ),
    _groq(
        "messages[].function_call",
        EVEN_NULL,
        {"messages": [HELLO, {"role": "assistant", "content": "hi", "function_call": None}, HELLO]},
        "3.4 function_call: null",
        "I",
        UNSUPPORTED,
    ),
    _groq("n", other_than(1), {"n": 2}, "3.4 n", "D", "'n' : number must be at most 1"),
    _groq("temperature", outside(0, 2), {"temperature": 2.5}, "3.4 temperature", "D"),
    _groq("stop", longer_than(4), {"stop": FIVE_STOPS}, "3.4 stop", "S"),
    _groq("tools", longer_than(128), {"tools": [TOOL] * 129}, "3.4 tools", "S"),
    _groq(
        "response_format",
        when(
            "a schema for a model without",
            lambda v, body: (
                isinstance(v, Mapping)
                and v.get("type") == "json_schema"
                and bool(_GROQ_SCHEMALESS_MODELS.search(str(body.get("model"))))
            ),
        ),
        {"model": "llama-3.1-8b-instant", "response_format": FORMAT},
        "3.4 response_format",
        "S",
        "This model does not support response format `json_schema`.",
    ),
    _groq(
        "reasoning_effort",
        when("none for gpt-oss", lambda v, body: v == "none" and "gpt-oss" in str(body.get("model"))),
        {"model": "openai/gpt-oss-120b", "reasoning_effort": "none"},
        "3.4 reasoning_effort",
        "S",
    ),
    _groq(
        "reasoning_format",
        beside("include_reasoning"),
        {"reasoning_format": "parsed", "include_reasoning": True},
        "3.4 reasoning_format",
        "S",
    ),
)
