"""What Together refuses: provider wire formats, 3.11."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.simulator.rows.common import HELLO, TOOL, basics, row_of
from gateway.simulator.rules import A_BOOLEAN, A_STRING, EMPTY_LIST, Rule, outside, when

_together = row_of("together", 400, type="invalid_request_error")
TOGETHER: Final[tuple[Rule, ...]] = (
    *basics(_together),
    _together("messages", EMPTY_LIST, {"messages": []}, "3.11 messages", "U"),
    _together("logprobs", A_BOOLEAN, {"logprobs": True}, "3.11 logprobs is an integer 0..20", "S"),
    _together("logprobs", outside(0, 20), {"logprobs": 21}, "3.11 logprobs is an integer 0..20", "S"),
    _together(
        "messages[].tool_calls",
        EMPTY_LIST,
        {"messages": [HELLO, {"role": "assistant", "content": "hi", "tool_calls": []}, HELLO]},
        "3.11 message tool_calls: []",
        "G",
        "Input validation error",
    ),
    _together("stop", A_STRING, {"stop": "END"}, "3.11 stop", "G", "Input validation error", status=422),
    _together("n", outside(1, 128), {"n": 129}, "3.11 n", "S"),
    _together("frequency_penalty", outside(-2, 2), {"frequency_penalty": 3}, "3.11 penalties", "S"),
    _together("presence_penalty", outside(-2, 2), {"presence_penalty": 3}, "3.11 penalties", "S"),
    _together(
        "tool_choice",
        when(
            "forced, on DeepSeek-V4 while it thinks",
            lambda v, body: (
                (v == "required" or isinstance(v, Mapping))
                and "DeepSeek-V4" in str(body.get("model"))
                and (body.get("reasoning") or {}).get("enabled") is not False
            ),
        ),
        {"model": "deepseek-ai/DeepSeek-V4", "tools": [TOOL], "tool_choice": "required"},
        "3.11 forced tool_choice on DeepSeek-V4",
        "G",
    ),
)
