"""Hyperbolic: an older vLLM that repeats a running usage in every chunk and counts one token too many."""

from __future__ import annotations

from providers.base import OpenAICompatible
from providers.failures import FailureRules
from providers.fields import Feature
from providers.payload import positive_top_p, refusals, support_of
from providers.wire import ChatRequest, FailureKind, Usage, replace


class Hyperbolic(OpenAICompatible):
    """See "provider wire formats", section 3.6. Unknown fields are ignored. Code 40301 is an unknown model."""

    name = "hyperbolic"
    base_url = "https://api.hyperbolic.xyz/v1"

    support = support_of(
        renamed=("max_completion_tokens", "top_p"),
        refused=("logprobs", "top_logprobs", "tools", "tool_choice", "tool_prompt"),
    )
    refuses = refusals(
        {
            Feature.TOOLS: "hyperbolic is not known to call tools",
            Feature.FORCED_TOOL_CHOICE: "hyperbolic is not known to call tools",
            Feature.PARALLEL_TOOL_CALLS: "hyperbolic is not known to call tools",
            Feature.TOOLS_WITH_FORMAT: "hyperbolic is not known to call tools",
            Feature.JSON_SCHEMA: "hyperbolic is not known to keep to a JSON schema",
            Feature.REGEX: "hyperbolic is not known to keep to a regular expression",
            Feature.LOGPROBS: "hyperbolic is not known to give logprobs",
            Feature.TOOL_PROMPT: "hyperbolic has no tool_prompt",
        }
    )
    max_tokens_name = "max_tokens"
    rewrites = (positive_top_p,)
    failures = FailureRules(codes={"40301": FailureKind.NOT_FOUND})

    def read_usage(self, reported: object, request: ChatRequest) -> Usage | None:
        """21 tokens were reported where 20 were the limit (recorded February 2025): the first chunk, empty, counts."""
        usage = super().read_usage(reported, request)
        limit = request.body.get("max_completion_tokens") or request.body.get("max_tokens")
        if usage is not None and request.stream and limit and usage.completion_tokens == limit + 1:
            return replace(usage, completion_tokens=limit, reasoning_tokens=min(usage.reasoning_tokens, limit))
        return usage
