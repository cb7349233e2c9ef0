"""Fireworks: every unknown key refused, text in coalesced chunks, `max_tokens` lowered in silence.

Older models report usage in the finish chunk, newer ones only when asked and in a chunk of its own; the
switch `usage=extra` or `usage=finish` forces one. `ping=on` sends an `event: ping` first, `arguments=object`
has the arguments of plain tool calls as an object. Provider wire formats, 3.3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.simulator.house import House, Turn, openai_list, path
from gateway.simulator.openai_shape import coarser, finish_reason, logprobs, steps, tool_calls, usage
from gateway.simulator.wire import DONE, Chunk, Problem, SimAnswer, SimRequest

WORDS_A_CHUNK: Final = 4
DEFAULT_MAX_TOKENS: Final = 2048
_NEWER: Final = re.compile(r"kimi-k2|glm-|gpt-oss|deepseek-v3p[1-9]|qwen3")


def _refusal(problem: Problem, request: SimRequest) -> SimAnswer:
    if problem.form == "front":
        fault = {"faultstring": problem.message, "detail": {"errorcode": problem.code}}
        return SimAnswer(problem.status, {"fault": fault})
    error: dict[str, Any] = {"object": "error", "type": problem.type or "error", "message": problem.message}
    if problem.code is not None:
        error = {"message": problem.message, "param": problem.param, "code": problem.code, "type": "error"}
    over = {"x-ratelimit-over-limit": "yes"} if problem.status == 429 else {}
    return SimAnswer(problem.status, {"error": error}, {"x-request-id": request.token, **over})


def _failing(problem: Problem) -> tuple[Chunk, ...]:
    """Synthetic: no failure inside a stream was recorded."""
    return (Chunk({"error": {"object": "error", "type": "server_error", "message": problem.message}}), Chunk(DONE))


def _usage(turn: Turn) -> dict[str, Any]:
    return {**usage(turn), "prompt_tokens_details": {"cached_tokens": turn.answer.cached_tokens}}


def _plain(turn: Turn) -> Mapping[str, Any]:
    choices = []
    for at in range(turn.ask.choices):
        message: dict[str, Any] = {"role": "assistant"}
        if turn.answer.calls:
            message["tool_calls"] = _calls(turn, at)
        else:
            message["content"] = turn.answer.content
        if turn.answer.reasoning:
            message["reasoning_content"] = turn.answer.thought
        choice = {"index": at, "message": message, "finish_reason": finish_reason(turn.answer)}
        if turn.ask.logprobs is not None:
            choice["logprobs"] = logprobs(turn)
        choices.append(choice)
    return {**_head(turn, "chat.completion"), "choices": choices, "usage": _usage(turn)}


def _calls(turn: Turn, choice: int) -> list[dict[str, Any]]:
    """The SDK's types allow arguments that are an object instead of JSON text [S]."""
    calls = tool_calls(turn, choice)
    if turn.switch("arguments", "text") == "object":
        for call in calls:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return calls


def _head(turn: Turn, kind: str) -> dict[str, Any]:
    return {"id": turn.uuid, "object": kind, "created": turn.created_s, "model": turn.model}


def _stream(turn: Turn) -> Iterator[Chunk]:
    """Tool calls in fragments [S]; no stream of one was recorded."""
    head = _head(turn, "chat.completion.chunk")
    extra = turn.switch("usage", "extra" if _NEWER.search(turn.model) else "finish") == "extra"
    if turn.switch("ping", "off") == "on":
        yield Chunk({}, event="ping")
    for step in coarser(steps(turn, first={"role": "assistant"}), WORDS_A_CHUNK):
        choice: dict[str, Any] = {"index": step.choice, "delta": step.delta, "finish_reason": step.finish}
        if step.text and turn.ask.logprobs is not None:
            choice["logprobs"] = logprobs(turn, step.text)
        counts = _usage(turn) if step.last and not extra else None
        yield Chunk({**head, "choices": [choice], "usage": counts})
    if extra and turn.ask.wants_usage:
        yield Chunk({**head, "choices": [], "usage": _usage(turn)})
    yield Chunk(DONE)


def _headers(turn: Turn) -> Mapping[str, str]:
    cap = turn.ask.max_tokens or DEFAULT_MAX_TOKENS
    return {
        "x-request-id": turn.uuid,
        "fireworks-prompt-tokens": str(turn.answer.prompt_tokens),
        "fireworks-server-time-to-first-token": "0.028",
        "fireworks-sampling-options": f'{{"max_tokens": {cap}, "temperature": 1.0, "top_k": 0}}',
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-limit-tokens-prompt": "60000",
        "x-ratelimit-remaining-tokens-prompt": "59954",
        "x-ratelimit-limit-tokens-generated": "6000",
        "x-ratelimit-remaining-tokens-generated": "6000",
        "x-ratelimit-over-limit": "no",
    }


HOUSE: Final = House(
    name="fireworks-ai",
    chat=path("/inference/v1/chat/completions"),
    listing=path("/inference/v1/models"),
    models=(
        "accounts/fireworks/models/llama-v3p3-70b-instruct",
        "accounts/fireworks/models/deepseek-r1-0528",
        "accounts/fireworks/models/llama4-scout-instruct-basic",
        "accounts/fireworks/models/kimi-k2-instruct",
    ),
    id_form=re.compile(r"accounts/[a-z0-9-]+/(models|routers)/[a-z0-9-]+"),
    list_body=openai_list,
    refusal=_refusal,
    plain=_plain,
    stream=_stream,
    failing=_failing,
    headers=_headers,
    clamps=True,
    faults={
        "401": Problem(401, "The API key you provided is invalid.", "UNAUTHORIZED"),
        "402": Problem(402, "Spending limit reached", "PAYMENT_REQUIRED"),  # synthetic
        "404": Problem(404, "Path not found", "NOT_FOUND"),
        "model": Problem(404, "Model not found, inaccessible, and/or not deployed", "NOT_FOUND", param="model"),
        "context": Problem(400, "The prompt is too long: 131073, model maximum context length: 131072"),
        "412": Problem(412, "Account is suspended", "PRECONDITION_FAILED"),
        "429": Problem(429, "Rate limit exceeded", type="rate_limit_error"),  # synthetic
        "503": Problem(503, "Service overloaded", type="server_error"),
        "front": Problem(500, "Execution of the policy failed", "steps.raisefault.RaiseFault", form="front"),
    },
)
