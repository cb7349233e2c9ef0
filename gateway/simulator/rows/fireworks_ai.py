"""What Fireworks refuses: provider wire formats, 3.3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.simulator.rows.common import FIVE_STOPS, FORMAT, TOOL, basics, row_of
from gateway.simulator.rules import EMPTY_LIST, Rule, beside, longer_than, outside, unknown_to, when

_fireworks = row_of("fireworks-ai", 400, type="invalid_request_error")
_EXTRA: Final = "Extra inputs are not permitted, field: '{field}', value: '{value}'"
_FIREWORKS_KNOWN: Final = (
    "model messages stream stream_options max_tokens max_completion_tokens temperature top_p top_k min_p seed stop "
    "n logprobs top_logprobs logit_bias frequency_penalty presence_penalty repetition_penalty tools tool_choice "
    "parallel_tool_calls response_format reasoning_effort reasoning_history thinking user echo ignore_eos "
    "context_length_exceeded_behavior prompt_cache_key metadata service_tier perf_metrics_in_response"
)
_STRICT_TOOL: Final = {"type": "function", "function": {**TOOL["function"], "strict": True}}  # type: ignore[dict-item]
FIREWORKS: Final[tuple[Rule, ...]] = (
    _fireworks("*", unknown_to(_FIREWORKS_KNOWN), {"tool_prompt": "use them"}, "3.3 unknown field", "I", _EXTRA),
    *basics(_fireworks),
    _fireworks("messages", EMPTY_LIST, {"messages": []}, "3.3 messages", "U"),
    _fireworks(
        "max_completion_tokens",
        beside("max_tokens"),
        {"max_tokens": 5, "max_completion_tokens": 5},
        "3.3 max_tokens with max_completion_tokens",
        "S",
        "max_tokens and max_completion_tokens cannot both be given",
    ),
    _fireworks(
        "tools",
        when(
            "beside response_format",
            lambda v, body: bool(v) and (body.get("response_format") or {}).get("type", "text") != "text",
        ),
        {"tools": [TOOL], "response_format": FORMAT},
        "3.3 tools + response_format",
        "G",
        "tools cannot be used together with response_format",
    ),
    _fireworks(
        "tools[]",
        when("a strict function", lambda tool, _b: isinstance(tool, Mapping) and "strict" in tool.get("function", {})),
        {"tools": [_STRICT_TOOL]},
        "3.3 tools[].function.strict",
        "G",
        _EXTRA,
    ),
    _fireworks("logprobs", outside(0, 5), {"logprobs": 6}, "3.3 logprobs", "S"),
    _fireworks("top_logprobs", outside(0, 5), {"top_logprobs": 6}, "3.3 logprobs", "S"),
    _fireworks("n", outside(1, 128), {"n": 129}, "3.3 n", "S"),
    _fireworks("temperature", outside(0, 2), {"temperature": 2.5}, "3.3 temperature", "S"),
    _fireworks("top_p", outside(0, 1), {"top_p": 1.5}, "3.3 top_p", "S"),
    _fireworks("frequency_penalty", outside(-2, 2), {"frequency_penalty": 3}, "3.3 penalties", "S"),
    _fireworks("presence_penalty", outside(-2, 2), {"presence_penalty": 3}, "3.3 penalties", "S"),
    _fireworks("stop", longer_than(4), {"stop": FIVE_STOPS}, "3.3 stop", "S"),
    _fireworks(
        "reasoning_effort",
        beside("thinking"),
        {"reasoning_effort": "low", "thinking": {"type": "enabled"}},
        "3.3 reasoning_effort",
        "S",
    ),
    _fireworks(
        "reasoning_effort",
        when(
            "other than low, medium, high for gpt-oss",
            lambda v, body: (
                v is not None and "gpt-oss" in str(body.get("model")) and v not in ("low", "medium", "high")
            ),
        ),
        {"model": "accounts/fireworks/models/gpt-oss-120b", "reasoning_effort": "none"},
        "3.3 reasoning_effort",
        "S",
    ),
)
