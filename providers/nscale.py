"""Nscale: the provider with the least on record, so only what is known to be taken is sent."""

from __future__ import annotations

from providers.base import OpenAICompatible
from providers.fields import Feature
from providers.payload import MESSAGE_KEYS, MessageRules, positive_top_p, refusals, support_of


class Nscale(OpenAICompatible):
    """See "provider wire formats", section 3.9. Two gateways strip `stream_options`, `seed`, `user` and tools."""

    name = "nscale"
    base_url = "https://inference.api.nscale.com/v1"

    support = support_of(
        renamed=("max_completion_tokens", "stream_options", "top_p"),
        dropped=("parallel_tool_calls", "reasoning_effort", "seed", "user"),
        refused=("tools", "tool_choice", "tool_prompt"),
    )
    refuses = refusals(
        {
            Feature.TOOLS: "nscale is not known to call tools",
            Feature.FORCED_TOOL_CHOICE: "nscale is not known to call tools",
            Feature.PARALLEL_TOOL_CALLS: "nscale is not known to call tools",
            Feature.TOOLS_WITH_FORMAT: "nscale is not known to call tools",
            Feature.JSON_SCHEMA: "nscale is not known to keep to a JSON schema",
            Feature.REGEX: "nscale has no regular expressions as response_format",
            Feature.TOOL_PROMPT: "nscale has no tool_prompt",
        }
    )
    takes_unknown = False
    max_tokens_name = "max_tokens"
    asks_for_usage = False
    messages = MessageRules(keys=MESSAGE_KEYS)
    rewrites = (positive_top_p,)
