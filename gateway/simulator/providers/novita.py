"""Novita: flat refusals by `reason`, 403 for an empty balance, and two generations of streams.

Switches: `generation=2025` has cumulative usage in every chunk, empty deltas and content filters; the usual,
2026, has one usage chunk without choices and `sla_metrics`. `choices=missing` answers 200 without choices.
Provider wire formats, 3.8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.simulator.ask import Ask, from_openai
from gateway.simulator.house import House, Turn, openai_list
from gateway.simulator.openai_shape import Step, finish_reason, logprobs, steps, tool_calls, usage
from gateway.simulator.wire import DONE, Chunk, Problem, SimAnswer, SimRequest

_FILTERS: Final = {
    "hate": {"filtered": False},
    "self_harm": {"filtered": False},
    "sexual": {"filtered": False},
    "violence": {"filtered": False},
    "jailbreak": {"filtered": False, "detected": False},
    "profanity": {"filtered": False, "detected": False},
}
_NO_DETAILS: Final = {"prompt_tokens_details": None, "completion_tokens_details": None}


def _ask(body: Mapping[str, Any], _request: SimRequest) -> Ask:
    """Gateways map `max_completion_tokens` down [G]; here it has no effect."""
    return from_openai(body, "max_tokens")


def _refusal(problem: Problem, _request: SimRequest) -> SimAnswer:
    reason = problem.code or "INVALID_REQUEST_BODY"
    body: dict[str, Any] = {"code": problem.status, "reason": reason, "message": problem.message, "metadata": {}}
    return SimAnswer(problem.status, body)


def _failing(problem: Problem) -> tuple[Chunk, ...]:
    """Synthetic: no failure inside a stream was recorded."""
    error = {"message": problem.message, "type": "server_error", "code": "SERVICE_NOT_AVAILABLE"}
    return (Chunk({"error": error}), Chunk(DONE))


def _filtered(turn: Turn) -> dict[str, Any]:
    return {"content_filter_results": _FILTERS} if turn.switch("generation", "2026") == "2025" else {}


def _plain(turn: Turn) -> Mapping[str, Any]:
    choices = []
    for at in range(turn.ask.choices):
        message: dict[str, Any] = {"role": "assistant", "content": turn.answer.content}
        if turn.answer.reasoning:
            message["reasoning_content"] = turn.answer.thought
        if turn.answer.calls:
            message["tool_calls"] = tool_calls(turn, at)
        choice = {"index": at, "message": message, "finish_reason": finish_reason(turn.answer)}
        if turn.ask.logprobs is not None:
            choice["logprobs"] = logprobs(turn)
        choices.append({**choice, **_filtered(turn)})
    answer = {**_head(turn, "chat.completion"), "choices": choices}
    if turn.switch("choices", "there") == "missing":
        del answer["choices"]
    return {**answer, "usage": {**usage(turn), **_NO_DETAILS}, "system_fingerprint": ""}


def _head(turn: Turn, kind: str) -> dict[str, Any]:
    return {"id": turn.token, "object": kind, "created": turn.created_s, "model": turn.model}


def _choice(turn: Turn, step: Step) -> dict[str, Any]:
    choice = {"index": step.choice, "delta": step.delta, "finish_reason": step.finish}
    if step.text and turn.ask.logprobs is not None:
        choice["logprobs"] = logprobs(turn, step.text)
    return {**choice, **_filtered(turn)}


def _stream(turn: Turn) -> Iterator[Chunk]:
    """Tool calls in fragments, as no stream of one was recorded."""
    return _stream_2025(turn) if turn.switch("generation", "2026") == "2025" else _stream_2026(turn)


def _stream_2025(turn: Turn) -> Iterator[Chunk]:
    prompt = turn.answer.prompt_tokens
    for step in steps(turn, first={"role": "assistant"}, text_in_finish=True):
        said = step.said_tokens
        counts = {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
        tail = {"system_fingerprint": "", "usage": {**counts, **_NO_DETAILS}}
        head = _head(turn, "chat.completion.chunk")
        yield Chunk({**head, "choices": [_choice(turn, step)], **tail})
        if step.first:
            empty = {"index": step.choice, "delta": {}, "finish_reason": None, **_filtered(turn)}
            yield Chunk({**head, "choices": [empty], **tail})
    yield Chunk(DONE)


def _stream_2026(turn: Turn) -> Iterator[Chunk]:
    head = _head(turn, "chat.completion.chunk")
    metrics = {"sla_metrics": {"ttft_ms": 274, "ts_us": int(turn.request.now_s * 1e6)}}
    for step in steps(turn, first={"role": "assistant"}):
        yield Chunk({**head, "choices": [_choice(turn, step)], "system_fingerprint": "", **metrics})
    counts = {**usage(turn), **_NO_DETAILS}
    yield Chunk({**head, "choices": [], "system_fingerprint": "", "usage": counts, **metrics})
    yield Chunk(DONE)


def _headers(turn: Turn) -> Mapping[str, str]:
    return {"inference-id": turn.token, "x-trace-id": turn.token}


HOUSE: Final = House(
    name="novita",
    chat=re.compile(r"(/v3/openai|/openai/v1)/chat/completions"),
    listing=re.compile(r"(/v3/openai|/openai/v1)/models"),
    models=(
        "deepseek/deepseek-r1-0528",
        "meta-llama/llama-3.1-8b-instruct",
        "meta-llama/llama-4-scout-17b-16e-instruct",
    ),
    id_form=re.compile(r"[a-z0-9-]+/(?:[a-z0-9._-]|(?<=\d)B)+"),
    list_body=openai_list,
    refusal=_refusal,
    plain=_plain,
    stream=_stream,
    failing=_failing,
    ask=_ask,
    headers=_headers,
    faults={
        "401": Problem(401, "failed to authenticate API key", "FAILED_TO_AUTH"),
        "403": Problem(403, "not enough balance", "NOT_ENOUGH_BALANCE"),
        "balance": Problem(403, "not enough balance", "NOT_ENOUGH_BALANCE"),
        "404": Problem(404, "not found", "NOT_FOUND"),
        "model": Problem(404, "model: {model} not found", "MODEL_NOT_FOUND"),
        "context": Problem(400, "This model's maximum context length is 131072 tokens.", "INVALID_REQUEST_BODY"),
        "429": Problem(429, "rate limit exceeded", "RATE_LIMIT_EXCEEDED"),
        "quota": Problem(429, "token limit exceeded", "TOKEN_LIMIT_EXCEEDED"),
        "500": Problem(500, "internal server error", "INTERNAL_ERROR"),
        "503": Problem(503, "service not available", "SERVICE_NOT_AVAILABLE"),
        "504": Problem(504, "service not available", "SERVICE_NOT_AVAILABLE"),
    },
)
