"""A plain OpenAI-like server, as a self-hosted vLLM is: nothing odd, unknown fields ignored.

Provider wire formats, section 4.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.simulator.house import House, openai_list, path
from gateway.simulator.vllm_shape import error_object_failing, error_object_refusal, plain, stream
from gateway.simulator.wire import Problem

HOUSE: Final = House(
    name="openai",
    chat=path("/v1/chat/completions"),
    listing=path("/v1/models"),
    models=("gpt-4.1-mini", "meta-llama/Llama-3.1-8B-Instruct", "deepseek-ai/DeepSeek-R1"),
    id_form=re.compile(r"[\w./:-]+"),
    list_body=openai_list,
    refusal=error_object_refusal,
    plain=plain,
    stream=stream,
    failing=error_object_failing,
    faults={
        "401": Problem(401, "Incorrect API key provided.", "invalid_api_key", "invalid_request_error"),
        "model": Problem(
            404, "The model `{model}` does not exist.", "model_not_found", "invalid_request_error", "model"
        ),
        "context": Problem(
            400,
            "This model's maximum context length is 131072 tokens. Please reduce the length of the messages.",
            "context_length_exceeded",
            "invalid_request_error",
            "messages",
        ),
        "429": Problem(429, "Rate limit reached.", "rate_limit_exceeded", "requests"),
        "quota": Problem(429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
        "503": Problem(503, "The engine is currently overloaded.", None, "server_error"),
    },
)
