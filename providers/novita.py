"""Novita: flat errors with a `reason`, and a 403 that may be about money."""

from __future__ import annotations

from providers.base import OpenAICompatible
from providers.failures import FailureRules
from providers.fields import Feature
from providers.payload import MESSAGE_KEYS, MessageRules, refusals, support_of
from providers.wire import FailureKind


class Novita(OpenAICompatible):
    """See "provider wire formats", section 3.8. What it makes of `seed`, `user` and others is not on record.

    Until 2025 each chunk repeated a running usage; since 2026 it comes once, at the end.
    """

    name = "novita"
    base_url = "https://api.novita.ai/v3/openai"

    support = support_of(
        renamed=("max_completion_tokens",),
        dropped=("logit_bias", "parallel_tool_calls", "seed", "user"),
        refused=("tool_prompt",),
    )
    refuses = refusals(
        {
            Feature.REGEX: "novita has no regular expressions as response_format",
            Feature.TOOL_PROMPT: "novita has no tool_prompt",
        }
    )
    takes_unknown = False
    extras = frozenset({"enable_thinking", "min_p", "repetition_penalty", "separate_reasoning", "thinking", "top_k"})
    max_tokens_name = "max_tokens"
    messages = MessageRules(keys=MESSAGE_KEYS)
    failures = FailureRules(
        codes={
            "failed_to_auth": FailureKind.AUTH,
            "not_enough_balance": FailureKind.PAYMENT,
            "service_not_available": FailureKind.OVERLOADED,
            "token_limit_exceeded": FailureKind.RATE_LIMITED,
        }
    )
