"""Nebius: a new vLLM, with rate-limit headers and the last text in the finish chunk.

Bodies of its refusals were not recorded; they have vLLM's form. Provider wire formats, 3.7.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.simulator.house import HUB_ID, House, Turn, openai_list, path
from gateway.simulator.vllm_shape import error_object_failing, error_object_refusal, plain, stream
from gateway.simulator.wire import Chunk, Problem

LIMITS: Final = {
    "x-ratelimit-limit-requests": "600",
    "x-ratelimit-limit-tokens": "400000",
    "x-ratelimit-remaining-requests": "599",
    "x-ratelimit-remaining-tokens": "399973",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-reset-tokens": "1s",
}


def _stream(turn: Turn) -> Iterator[Chunk]:
    return stream(turn, text_in_finish=True)


HOUSE: Final = House(
    name="nebius",
    chat=path("/v1/chat/completions"),
    listing=path("/v1/models"),
    models=("deepseek-ai/DeepSeek-R1-0528", "google/gemma-3-27b-it-fast", "meta-llama/Meta-Llama-3.1-8B-Instruct-fast"),
    id_form=HUB_ID,
    list_body=openai_list,
    refusal=error_object_refusal,
    plain=plain,
    stream=_stream,
    failing=error_object_failing,
    headers=lambda _turn: LIMITS,
    faults={
        "401": Problem(401, "Unauthorized", 401, "AuthenticationError"),
        "402": Problem(402, "Insufficient balance", 402, "PaymentRequired"),
        "404": Problem(404, "Not Found", 404, "NotFoundError"),
        "model": Problem(404, "The model `{model}` does not exist.", 404, "NotFoundError"),
        "context": Problem(
            400,
            "This model's maximum context length is 131072 tokens. Please reduce the length of the messages.",
            400,
            "BadRequestError",
        ),
        "429": Problem(429, "Rate limit exceeded", 429, "RateLimitError"),
        "503": Problem(503, "Service unavailable", 503, "ServiceUnavailableError"),
        "stream": Problem(400, "EngineCore encountered an issue.", 400, "BadRequestError"),
    },
)
