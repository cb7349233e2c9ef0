"""Cerebras: unknown keys refused, null keys left out, usage and `time_info` in the finish chunk, no `[DONE]`.

Switches: `done=on` ends streams with `[DONE]`. Provider wire formats, 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.simulator.house import SLUG, House, Turn, openai_list, path
from gateway.simulator.openai_shape import finish_reason, logprobs, steps, tool_calls, usage
from gateway.simulator.wire import DONE, Chunk, Problem, SimAnswer, SimRequest

LIMITS: Final = {
    "x-ratelimit-limit-requests-day": "216000",
    "x-ratelimit-remaining-requests-day": "215967",
    "x-ratelimit-reset-requests-day": "23673.933695316315",
    "x-ratelimit-limit-tokens-minute": "160000",
    "x-ratelimit-remaining-tokens-minute": "159327",
    "x-ratelimit-reset-tokens-minute": "33.9336953163147",
}
_ALIASES: Final = {"llama3.3-70b": "llama-3.3-70b"}
"""An alias is accepted and answered under the other name [R Aug 2025]."""


def _flat(problem: Problem) -> dict[str, Any]:
    param = "validation_error" if problem.code == "wrong_api_format" else problem.param
    kind = problem.type or "invalid_request_error"
    return {"message": problem.message, "type": kind, "param": param, "code": problem.code}


def _refusal(problem: Problem, _request: SimRequest) -> SimAnswer:
    return SimAnswer(problem.status, _flat(problem), LIMITS if problem.status == 429 else {})


def _failing(problem: Problem) -> tuple[Chunk, ...]:
    """The chunk of the SDK's types [S]."""
    return (Chunk({"error": {**_flat(problem), "id": "err-1"}, "status_code": problem.status}),)


def _usage(turn: Turn) -> dict[str, Any]:
    details = {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    reasoning = len(turn.answer.reasoning) * turn.ask.choices
    return {
        **usage(turn),
        "completion_tokens_details": {**details, "reasoning_tokens": reasoning},
        "prompt_tokens_details": {"cached_tokens": turn.answer.cached_tokens},
    }


def _times(turn: Turn) -> dict[str, Any]:
    times = {"queue_time": 9.163e-05, "prompt_time": 0.0026, "completion_time": 0.3028}
    return {**times, "total_time": 0.3069, "created": turn.request.now_s}


def _head(turn: Turn, kind: str) -> dict[str, Any]:
    model = _ALIASES.get(turn.model, turn.model)
    return {"model": model, "system_fingerprint": "fp_5fb719f1e4", "object": kind}


def _plain(turn: Turn) -> Mapping[str, Any]:
    choices = []
    for at in range(turn.ask.choices):
        calls = tool_calls(turn, at, prefix="")
        message: dict[str, Any] = {"tool_calls": calls} if calls else {"content": turn.answer.content}
        if turn.answer.reasoning:
            message["reasoning"] = turn.answer.thought
        choice = {"finish_reason": finish_reason(turn.answer), "index": at, "message": {**message, "role": "assistant"}}
        if turn.ask.logprobs is not None:
            choice["logprobs"] = logprobs(turn)
        choices.append(choice)
    head = _head(turn, "chat.completion")
    ended = {"usage": _usage(turn), "time_info": _times(turn)}
    return {"id": f"chatcmpl-{turn.uuid}", "choices": choices, "created": turn.created_s, **head, **ended}


def _stream(turn: Turn) -> Iterator[Chunk]:
    head = _head(turn, "chat.completion.chunk")
    spoken = steps(turn, first={"role": "assistant"}, reasoning_key="reasoning", whole_calls=True, call_prefix="")
    for step in spoken:
        choice: dict[str, Any] = {"delta": step.delta, "index": step.choice}
        if step.finish is not None:
            choice["finish_reason"] = step.finish
        if step.text is not None and turn.ask.logprobs is not None:
            choice["logprobs"] = logprobs(turn, step.text)
        chunk = {"id": f"chatcmpl-{turn.uuid}", "choices": [choice], "created": turn.created_s, **head}
        yield Chunk({**chunk, "usage": _usage(turn), "time_info": _times(turn)} if step.last else chunk)
    if turn.switch("done", "off") == "on":
        yield Chunk(DONE)


def _headers(turn: Turn) -> Mapping[str, str]:
    return {**LIMITS, "inference-id": f"chatcmpl-{turn.uuid}"}


_QUOTA: Final = "too_many_requests_error"

HOUSE: Final = House(
    name="cerebras",
    chat=path("/v1/chat/completions"),
    listing=path("/v1/models"),
    models=("llama-3.3-70b", "qwen-3-32b", "gpt-oss-120b", "llama-4-scout-17b-16e-instruct"),
    id_form=SLUG,
    list_body=openai_list,
    refusal=_refusal,
    plain=_plain,
    stream=_stream,
    failing=_failing,
    headers=_headers,
    faults={
        "401": Problem(401, "Wrong API Key", "wrong_api_key", "invalid_request_error", "api_key"),
        "402": Problem(402, "Payment required", "payment_required", "payment_required_error"),  # synthetic text
        "404": Problem(404, "Not Found", "not_found", "not_found_error"),
        "model": Problem(
            404, "Model {model} does not exist or you do not have access to it.", "model_not_found", "not_found_error"
        ),
        "context": Problem(
            400,
            "Please reduce the length of the messages or completion.",
            "context_length_exceeded",
            "invalid_request_error",
            "messages",
        ),
        "429": Problem(
            429,
            "Requests per minute limit exceeded - too many requests sent.",
            "request_quota_exceeded",
            _QUOTA,
            "quota",
        ),
        "quota": Problem(429, "Tokens per day limit exceeded.", "token_quota_exceeded", _QUOTA, "quota"),
        "queue": Problem(429, "We're experiencing high traffic right now!", "queue_exceeded", _QUOTA, "queue"),
        "503": Problem(503, "Service unavailable", None, "server_error"),
    },
)
