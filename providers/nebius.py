"""Nebius Token Factory: vLLM, generous with nulls, and silent about usage in a stream unless asked."""

from __future__ import annotations

from providers.base import OpenAICompatible
from providers.fields import Feature
from providers.payload import common_effort, positive_top_p, refusals, schema_as_guided_json, support_of


class Nebius(OpenAICompatible):
    """See "provider wire formats", section 3.7. Unknown fields are ignored."""

    name = "nebius"
    base_url = "https://api.tokenfactory.nebius.com/v1"

    support = support_of(renamed=("reasoning_effort", "response_format", "top_p"), refused=("tool_prompt",))
    refuses = refusals(
        {
            Feature.REGEX: "nebius is not known to keep to a regular expression",
            Feature.TOOL_PROMPT: "nebius has no tool_prompt",
        }
    )
    rewrites = (common_effort, schema_as_guided_json, positive_top_p)
