"""Cerebras: refuses every field it does not know, and closes its streams without a `[DONE]`."""

from __future__ import annotations

from providers.base import OpenAICompatible
from providers.fields import Feature
from providers.payload import MESSAGE_KEYS, MessageRules, common_effort, refusals, strict_only_if_closed, support_of
from providers.rate_limits import LimitHeader, LimitHeaders


class Cerebras(OpenAICompatible):
    """See "provider wire formats", section 3.1.

    Penalties and `parallel_tool_calls` were answered with 400 in 2025 and are accepted by the SDK of November 2026;
    `logit_bias` is accepted without effect. All are left out, which every generation of the server bears.
    """

    name = "cerebras"
    base_url = "https://api.cerebras.ai/v1"

    support = support_of(
        renamed=("max_tokens", "reasoning_effort"),
        dropped=("frequency_penalty", "presence_penalty", "logit_bias", "parallel_tool_calls"),
        refused=("tool_prompt",),
    )
    refuses = refusals(
        {
            Feature.REGEX: "cerebras has no regular expressions as response_format",
            Feature.TOOL_PROMPT: "cerebras has no tool_prompt",
        }
    )
    takes_unknown = False
    extras = frozenset({"clear_thinking", "disable_reasoning", "reasoning_format"})
    max_tokens_name = "max_completion_tokens"
    messages = MessageRules(keys=MESSAGE_KEYS | {"reasoning"}, reasoning="reasoning", developer=True)
    rewrites = (common_effort, strict_only_if_closed)
    limit_headers = LimitHeaders(
        requests=(LimitHeader.of("requests-minute"), LimitHeader.of("requests-day")),
        tokens=(LimitHeader.of("tokens-minute"), LimitHeader.of("tokens-day")),
    )
