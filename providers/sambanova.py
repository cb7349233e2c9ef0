"""SambaNova: takes unknown fields, answers with fractional seconds, and sees only images that are in the request."""

from __future__ import annotations

from providers.base import OpenAICompatible
from providers.failures import FailureRules
from providers.fields import Feature
from providers.payload import MessageRules, common_effort, lenient_schema, refusals, support_of
from providers.rate_limits import LimitHeader, LimitHeaders
from providers.wire import FailureKind


class SambaNova(OpenAICompatible):
    """See "provider wire formats", section 3.10."""

    name = "sambanova"
    base_url = "https://api.sambanova.ai/v1"

    support = support_of(
        renamed=("max_completion_tokens", "reasoning_effort", "response_format"),
        refused=("tool_prompt",),
    )
    refuses = refusals(
        {
            Feature.IMAGE_URLS: "sambanova takes images as data URLs only",
            Feature.REGEX: "sambanova has no regular expressions as response_format",
            Feature.TOOL_PROMPT: "sambanova has no tool_prompt",
        }
    )
    max_tokens_name = "max_tokens"
    messages = MessageRules(developer=True, flat_text=True)
    rewrites = (common_effort, lenient_schema)
    failures = FailureRules(
        codes={"error_model_output": FailureKind.MODEL_OUTPUT, "model_deprecated": FailureKind.NOT_FOUND}
    )
    limit_headers = LimitHeaders(requests=(LimitHeader.of("requests"), LimitHeader.of("requests-day")))
