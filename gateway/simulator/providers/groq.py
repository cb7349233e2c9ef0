"""Groq: usage under `x_groq` in the finish chunk, whole tool calls, `event: error` without `[DONE]`.

Switches: `generation=2025` leaves the top-level twin of the stream's usage out. Provider wire formats, 3.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.simulator.answers import inlined
from gateway.simulator.house import House, Turn, openai_list, path
from gateway.simulator.openai_shape import finish_reason, steps, tool_calls, usage
from gateway.simulator.wire import DONE, Chunk, Problem, SimAnswer, SimRequest

LIMITS: Final = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-remaining-requests": "14399",
    "x-ratelimit-reset-requests": "6s",
    "x-ratelimit-limit-tokens": "6000",
    "x-ratelimit-remaining-tokens": "5987",
    "x-ratelimit-reset-tokens": "130ms",
}


def _refusal(problem: Problem, request: SimRequest) -> SimAnswer:
    error: dict[str, Any] = {"message": problem.message, "type": problem.type or "invalid_request_error"}
    if problem.code is not None:
        error["code"] = problem.code
    if problem.code == "tool_use_failed":
        error["failed_generation"] = problem.given
    headers = {"x-request-id": f"req_{request.token[:26]}"}
    if problem.status in (413, 429, 498):
        headers |= LIMITS | ({"retry-after": "5"} if problem.status == 429 else {})
    return SimAnswer(problem.status, {"error": error}, headers)


def _failing(problem: Problem) -> tuple[Chunk, ...]:
    """No usage and no `[DONE]` follow [R]."""
    error = {"message": problem.message, "type": problem.type, "code": problem.code}
    return (Chunk({"error": {**error, "failed_generation": problem.given, "status_code": 400}}, event="error"),)


def _usage(turn: Turn) -> dict[str, Any]:
    counts: dict[str, Any] = {"queue_time": 0.0049, **usage(turn), "prompt_time": 0.0146}
    counts |= {"completion_time": 0.1121, "total_time": 0.1267}
    if turn.answer.cached_tokens:
        counts["prompt_tokens_details"] = {"cached_tokens": turn.answer.cached_tokens}
    if turn.answer.reasoning:
        reasoning = len(turn.answer.reasoning) * turn.ask.choices
        counts["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return counts


def _voiced(turn: Turn) -> Turn:
    """Reasoning where `reasoning_format` wants it; `raw` is the usual for all but gpt-oss [U]."""
    form = turn.body.get("reasoning_format") or ("parsed" if "gpt-oss" in turn.model else "raw")
    if form == "raw" and not turn.answer.calls and turn.ask.schema is None:
        return replace(turn, answer=inlined(turn.answer))
    return turn


def _about(turn: Turn) -> dict[str, Any]:
    return {"id": f"req_{turn.token[:26]}", "seed": int(turn.token[:7], 16)}


def _plain(turn: Turn) -> Mapping[str, Any]:
    said = _voiced(turn).answer
    message: dict[str, Any] = {"role": "assistant"}
    if said.calls:
        message["tool_calls"] = tool_calls(turn, 0)
    else:
        message["content"] = said.content
    if said.reasoning and turn.body.get("reasoning_format") != "hidden":
        message["reasoning"] = said.thought
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(said)}
    return {
        "id": f"chatcmpl-{turn.uuid}",
        "object": "chat.completion",
        "created": turn.created_s,
        "model": turn.model,
        "choices": [choice],
        "usage": _usage(turn),
        "usage_breakdown": None,
        "system_fingerprint": "fp_f08cd12a81",
        "x_groq": _about(turn),
        "service_tier": "on_demand",
    }


def _stream(turn: Turn) -> Iterator[Chunk]:
    voiced = _voiced(turn)
    head = {"id": f"chatcmpl-{turn.uuid}", "object": "chat.completion.chunk", "created": turn.created_s}
    head |= {"model": turn.model, "system_fingerprint": "fp_f08cd12a81"}
    hidden = turn.body.get("reasoning_format") == "hidden"
    # Llama streams of tool calls open with a null content [R].
    first = {"role": "assistant", "content": None if turn.answer.calls else ""}
    for step in steps(voiced, first=first, reasoning_key="reasoning", whole_calls=True):
        delta = dict(step.delta)
        if "reasoning" in delta:
            if hidden:
                continue
            delta |= {"channel": "analysis"} if "gpt-oss" in turn.model else {}
        choice = {"index": step.choice, "delta": delta, "logprobs": None, "finish_reason": step.finish}
        chunk: dict[str, Any] = {**head, "choices": [choice]}
        if step.first:
            chunk["x_groq"] = _about(turn)
        if step.last:
            chunk["x_groq"] = {"id": _about(turn)["id"], "usage": _usage(turn)}
            if turn.switch("generation", "2026") == "2026":
                chunk["usage"] = _usage(turn)
        yield Chunk(chunk)
    yield Chunk(DONE)


def _headers(turn: Turn) -> Mapping[str, str]:
    return {**LIMITS, "x-request-id": _about(turn)["id"], "x-groq-region": "me-central-1"}


_TPM: Final = "on tokens per minute (TPM): Limit 6000, Used 5034, Requested 1443. Please try again in 4.77s."
_BAD_CALL: Final = Problem(
    400,
    "Tool call validation failed: the model's call does not follow the tool's parameters",
    "tool_use_failed",
    "invalid_request_error",
    given='{"name": "look", "arguments": {"place": 1}}',
)

HOUSE: Final = House(
    name="groq",
    chat=path("/openai/v1/chat/completions"),
    listing=path("/openai/v1/models"),
    models=(
        "llama-3.3-70b-versatile",
        "meta-llama/llama-4-scout-17b-16e-instruct",
        "openai/gpt-oss-120b",
        "qwen/qwen3-32b",
    ),
    id_form=re.compile(r"([a-z0-9-]+/)?[a-z0-9_.-]+"),
    list_body=openai_list,
    refusal=_refusal,
    plain=_plain,
    stream=_stream,
    failing=_failing,
    headers=_headers,
    faults={
        "401": Problem(401, "Invalid API Key", "invalid_api_key", "invalid_request_error"),
        "404": Problem(404, "Unknown request URL", "unknown_url", "invalid_request_error"),
        "model": Problem(
            404,
            "The model `{model}` does not exist or you do not have access to it.",
            "model_not_found",
            "invalid_request_error",
        ),
        "context": Problem(
            400,
            "Please reduce the length of the messages or completion.",
            "context_length_exceeded",
            "invalid_request_error",
        ),
        "413": Problem(413, f"Request too large for model {_TPM}", "rate_limit_exceeded", "tokens"),
        "429": Problem(429, f"Rate limit reached for model {_TPM}", "rate_limit_exceeded", "tokens"),
        "498": Problem(498, "Flex tier capacity exceeded", "capacity_exceeded", "service_tier"),  # synthetic text
        "503": Problem(503, "Service Unavailable", None, "internal_server_error"),
        "tool_use_failed": _BAD_CALL,
        "stream": _BAD_CALL,
    },
)
