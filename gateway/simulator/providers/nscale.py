"""Nscale, of which no answer was ever recorded: plain vLLM, and what other gateways strip is refused.

Switch: `stripped=off` takes those fields after all. Every text is synthetic. Provider wire formats, 3.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.simulator.ask import Ask, from_openai
from gateway.simulator.house import HUB_ID, House, openai_list, path
from gateway.simulator.vllm_shape import error_object_failing, error_object_refusal, plain, stream
from gateway.simulator.wire import Problem, SimRequest


def _ask(body: Mapping[str, Any], _request: SimRequest) -> Ask:
    """Only `max_tokens` is on the list of what it supports [G]."""
    return from_openai(body, "max_tokens")


HOUSE: Final = House(
    name="nscale",
    chat=path("/v1/chat/completions"),
    listing=path("/v1/models"),
    models=("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
    id_form=HUB_ID,
    list_body=openai_list,
    refusal=error_object_refusal,
    plain=plain,
    stream=stream,
    failing=error_object_failing,
    ask=_ask,
    faults={
        "401": Problem(401, "Unauthorized", 401, "AuthenticationError"),
        "402": Problem(402, "Insufficient balance", 402, "PaymentRequired"),
        "404": Problem(404, "Not Found", 404, "NotFoundError"),
        "model": Problem(404, "The model `{model}` does not exist.", 404, "NotFoundError"),
        "context": Problem(
            400, "This model's maximum context length is 131072 tokens.", 400, "BadRequestError", "messages"
        ),
        "429": Problem(429, "Rate limit exceeded", 429, "RateLimitError"),
        "503": Problem(503, "Service unavailable", 503, "ServiceUnavailableError"),
    },
)
