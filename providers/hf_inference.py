"""Hugging Face's own inference: text-generation-inference (TGI) behind the router, one URL for each model."""

from __future__ import annotations

import re
from typing import Final

from providers.base import OpenAICompatible
from providers.failures import FailureRules
from providers.fields import Feature
from providers.payload import (
    Draft,
    clamp,
    refusals,
    schema_in_json_object,
    support_of,
)
from providers.targets import path_segments
from providers.wire import FailureKind

SEED_MAX: Final = (1 << 64) - 1


def any_json(draft: Draft) -> Draft:
    """TGI wants a schema even for "any JSON": an object without a word about its properties."""
    if (draft.body.get("response_format") or {}).get("type") != "json_object":
        return draft
    if "value" in draft.body["response_format"]:
        return draft
    return draft.put(response_format={"type": "json_object", "value": {"type": "object", "properties": {}}})


def bearable_sampling(draft: Draft) -> Draft:
    """TGI answers 422 to `top_p` 1 (which means nothing) and to a negative seed.

    `presence_penalty` becomes a repetition penalty of itself plus 2, which must be above zero. So 0 would be a
    penalty of 2 (it is left out, see `has_no_effect`), and -2 cannot be said.
    """
    if draft.body.get("top_p", 0.5) >= 1:
        draft = draft.without("top_p")
    if draft.body.get("presence_penalty", 0) <= -2:
        draft = draft.drop("presence_penalty")
    if not 0 <= draft.body.get("seed", 0) <= SEED_MAX:
        draft = draft.drop("seed")
    return draft


def content_or_calls(draft: Draft) -> Draft:
    """A past message of TGI has either content or tool calls; with both, the calls would be lost."""
    messages = draft.body.get("messages") or []
    if not any(message.get("tool_calls") and "content" in message for message in messages):
        return draft
    clean = [
        {key: value for key, value in message.items() if key != "content"} if message.get("tool_calls") else message
        for message in messages
    ]
    lost = any(message.get("tool_calls") and message.get("content") for message in messages)
    draft = draft.put(messages=clean)
    return draft.missing("messages[].content") if lost else draft


class HfInference(OpenAICompatible):
    """See "provider wire formats", section 3.5. Unknown fields are ignored there, and so are passed on.

    In a stream every failure of validation, load or generation comes as code 422 inside a 200: told apart by text.
    """

    name = "hf-inference"
    base_url = "https://router.huggingface.co/hf-inference"

    support = support_of(
        renamed=("response_format", "top_p", "presence_penalty"),
        dropped=("logit_bias",),
        refused=("n",),
    )
    refuses = refusals(
        {
            Feature.MANY_CHOICES: "hf-inference gives one choice only",
            Feature.TOOLS_WITH_FORMAT: "hf-inference takes tools or a response_format, not both",
        }
    )
    rewrites = (
        bearable_sampling,
        clamp("top_p", 0.01, 0.99),
        schema_in_json_object("value"),
        any_json,
        content_or_calls,
    )
    failures = FailureRules(
        statuses={424: FailureKind.SERVER_ERROR},
        codes={
            "overloaded": FailureKind.OVERLOADED,
            "generation": FailureKind.SERVER_ERROR,
            "incomplete_generation": FailureKind.SERVER_ERROR,
            "incomplete_generation_stream": FailureKind.SERVER_ERROR,
        },
        texts=(
            (None, re.compile(r"model is overloaded", re.IGNORECASE), FailureKind.OVERLOADED),
            (None, re.compile(r"^(request failed during|incomplete) generation", re.I), FailureKind.SERVER_ERROR),
            (422, re.compile(r"failed to parse generated text", re.IGNORECASE), FailureKind.MODEL_OUTPUT),
            (400, re.compile(r"not supported by provider", re.IGNORECASE), FailureKind.NOT_FOUND),
        ),
    )

    def path(self, provider_model: str) -> str:
        return f"/models/{path_segments(provider_model)}/v1/chat/completions"
