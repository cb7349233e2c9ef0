"""Together: counts log probabilities instead of switching them on, and sends `retry-after` with every 200."""

from __future__ import annotations

import re
from typing import Any

from providers.base import OpenAICompatible
from providers.failures import FailureRules
from providers.fields import Feature
from providers.payload import (
    MESSAGE_KEYS,
    MessageRules,
    common_effort,
    flat_schema,
    logprobs_as_number,
    refusals,
    support_of,
)
from providers.rate_limits import LimitHeader, LimitHeaders
from providers.wire import FailureKind, JsonObject


class Together(OpenAICompatible):
    """See "provider wire formats", section 3.11. Sources disagree on the status of a context overflow."""

    name = "together"
    base_url = "https://api.together.xyz/v1"

    support = support_of(
        renamed=("logprobs", "max_completion_tokens", "reasoning_effort", "response_format", "top_logprobs"),
        dropped=("parallel_tool_calls", "user"),
        refused=("tool_prompt",),
    )
    refuses = refusals(
        {
            Feature.REGEX: "together is not known to keep to a regular expression",
            Feature.TOOL_PROMPT: "together has no tool_prompt",
        }
    )
    takes_unknown = False
    extras = frozenset(
        {
            "chat_template_kwargs",
            "context_length_exceeded_behavior",
            "echo",
            "min_p",
            "reasoning",
            "repetition_penalty",
            "top_k",
        }
    )
    max_tokens_name = "max_tokens"
    messages = MessageRules(keys=MESSAGE_KEYS)
    rewrites = (common_effort, logprobs_as_number, flat_schema)
    failures = FailureRules(
        texts=(
            (403, re.compile(r"token", re.IGNORECASE), FailureKind.CONTEXT_OVERFLOW),
            (422, re.compile(r"\btokens\b", re.IGNORECASE), FailureKind.CONTEXT_OVERFLOW),
        )
    )
    limit_headers = LimitHeaders(
        requests=(LimitHeader("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),),
        tokens=(LimitHeader("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens"),),
    )

    def read_logprobs(self, reported: object, text: str) -> JsonObject | None:
        """Whole answers have the legacy lists, chunks a bare number for their text."""
        if isinstance(reported, float | int) and not isinstance(reported, bool):
            return {"content": [_token(text, reported, None)]} if text else None
        if not isinstance(reported, dict) or not isinstance(reported.get("tokens"), list):
            return super().read_logprobs(reported, text)
        tokens = reported["tokens"]
        numbers = reported.get("token_logprobs")
        tops = reported.get("top_logprobs")
        return {
            "content": [
                _token(str(token), _at(numbers, at), _at(tops, at))
                for at, token in enumerate(tokens)
                if isinstance(_at(numbers, at), float | int)
            ]
        }


def _at(values: object, at: int) -> Any:
    return values[at] if isinstance(values, list) and at < len(values) else None


def _token(token: str, logprob: float, top: object) -> JsonObject:
    others = top.items() if isinstance(top, dict) else ()
    return {
        "token": token,
        "logprob": logprob,
        "bytes": list(token.encode()),
        "top_logprobs": [
            {"token": other, "logprob": number, "bytes": list(other.encode())} for other, number in others
        ],
    }
