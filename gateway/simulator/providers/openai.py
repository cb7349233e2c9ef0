"""A plain OpenAI-like server, as a self-hosted vLLM is: nothing odd, unknown fields ignored.

With `continue_final_message` true and `add_generation_prompt` false it goes on with the last message, as vLLM does.
Provider wire formats, section 4. Going on is not in there but in vLLM's source [S], read 2026-11-30, under
vllm/entrypoints/openai/chat_completion: vllm@002032e, protocol.py (first in vllm#8942 of 2024) and vllm@5e91864,
serving.py: `get_chat_request_role`. The template of transformers, which is cut at the last message, looks at no role.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.simulator.ask import Ask, from_openai, texts_of
from gateway.simulator.house import House, openai_list, path
from gateway.simulator.vllm_shape import error_object_failing, error_object_refusal, plain, stream
from gateway.simulator.wire import Problem, SimRequest


def _ask(body: Mapping[str, Any], _request: SimRequest) -> Ask:
    """Without a generation prompt the answer is in the name of whose the last message is, be it the user's."""
    ask = from_openai(body)
    last = body["messages"][-1]
    if body.get("add_generation_prompt") is not False or not isinstance(last, Mapping):
        return ask
    begun = "".join(texts_of(last.get("content"))) if body.get("continue_final_message") else ""
    return replace(ask, role=str(last.get("role")), begun=begun)


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
    ask=_ask,
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
