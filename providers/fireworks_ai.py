"""Fireworks: refuses unknown fields, and takes a JSON schema inside a `json_object` response format."""

from __future__ import annotations

from providers.base import OpenAICompatible
from providers.failures import FailureRules
from providers.fields import Feature
from providers.payload import (
    MESSAGE_KEYS,
    MessageRules,
    common_effort,
    refusals,
    schema_in_json_object,
    support_of,
    without_strict_tools,
)
from providers.rate_limits import LimitHeader, LimitHeaders
from providers.wire import FailureKind


class FireworksAI(OpenAICompatible):
    """See "provider wire formats", section 3.3. 412 says that the account is suspended, or a LoRA would not load."""

    name = "fireworks-ai"
    base_url = "https://api.fireworks.ai/inference/v1"

    support = support_of(
        renamed=("max_completion_tokens", "reasoning_effort", "response_format"),
        refused=("tool_prompt",),
    )
    refuses = refusals(
        {
            Feature.REGEX: "fireworks-ai has grammars, but no regular expressions as response_format",
            Feature.TOOLS_WITH_FORMAT: "fireworks-ai takes tools or a response_format, not both",
            Feature.TOOL_PROMPT: "fireworks-ai has no tool_prompt",
        }
    )
    takes_unknown = False
    extras = frozenset(
        {
            "context_length_exceeded_behavior",
            "min_p",
            "reasoning_history",
            "repetition_penalty",
            "thinking",
            "top_k",
        }
    )
    max_tokens_name = "max_tokens"
    messages = MessageRules(keys=MESSAGE_KEYS | {"reasoning_content"}, reasoning="reasoning_content")
    rewrites = (common_effort, schema_in_json_object("schema"), without_strict_tools)
    failures = FailureRules(statuses={412: FailureKind.FORBIDDEN})
    limit_headers = LimitHeaders(tokens=(LimitHeader.of("tokens-prompt"), LimitHeader.of("tokens-generated")))
