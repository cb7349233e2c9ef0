"""Groq: strict about what no model of its supports, quick, and honest in its own words."""

from __future__ import annotations

from providers.base import OpenAICompatible
from providers.failures import FailureRules
from providers.fields import Feature
from providers.payload import MESSAGE_KEYS, MessageRules, common_effort, refusals, support_of
from providers.wire import FailureKind


class Groq(OpenAICompatible):
    """See "provider wire formats", section 3.4. Usage comes unasked, under `x_groq` until 2026 and beside it since."""

    name = "groq"
    base_url = "https://api.groq.com/openai/v1"

    support = support_of(
        renamed=("max_tokens", "reasoning_effort", "stream_options"),
        dropped=("logit_bias",),
        refused=("logprobs", "top_logprobs", "n", "tool_prompt"),
    )
    refuses = refusals(
        {
            Feature.LOGPROBS: "groq answers logprobs with an error",
            Feature.MANY_CHOICES: "groq gives one choice only",
            Feature.REGEX: "groq has no regular expressions as response_format",
            Feature.TOOL_PROMPT: "groq has no tool_prompt",
        }
    )
    takes_unknown = False
    extras = frozenset({"disable_tool_validation", "include_reasoning", "reasoning_format", "service_tier"})
    max_tokens_name = "max_completion_tokens"
    asks_for_usage = False
    messages = MessageRules(keys=MESSAGE_KEYS - {"name"})
    rewrites = (common_effort,)
    failures = FailureRules(
        statuses={413: FailureKind.RATE_LIMITED, 498: FailureKind.OVERLOADED},
        throttles=frozenset({429, 498, 502, 503, 529}),
    )
