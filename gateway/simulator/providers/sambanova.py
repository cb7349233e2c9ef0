"""SambaNova: a float `created`, usage full of other numbers, few and large chunks, text/plain 500 and 503.

DeepSeek-R1 thinks inside the content, gpt-oss in `reasoning`. Provider wire formats, 3.10.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.simulator.answers import inlined
from gateway.simulator.house import SLUG, House, Turn, path
from gateway.simulator.openai_shape import coarser, finish_reason, logprobs, steps, tool_calls, usage
from gateway.simulator.wire import DONE, Chunk, Problem, SimAnswer, SimRequest

IMAGE_TOKENS: Final = 6432
WORDS_A_CHUNK: Final = 5
LIMITS: Final = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1",
    "x-ratelimit-limit-requests-day": "12000",
    "x-ratelimit-remaining-requests-day": "11999",
    "x-ratelimit-reset-requests-day": "86400",
}


def _error(problem: Problem) -> dict[str, Any]:
    kind = problem.type or "invalid_request_error"
    return {"message": problem.message, "type": kind, "param": problem.param, "code": problem.code}


def _refusal(problem: Problem, request: SimRequest) -> SimAnswer:
    if problem.form == "text":
        return SimAnswer(problem.status, problem.message)
    if problem.form == "bare":
        return SimAnswer(problem.status, {"error": problem.message})
    return SimAnswer(problem.status, {"error": _error(problem), "request_id": request.token[:20]})


def _failing(problem: Problem) -> tuple[Chunk, ...]:
    """An object with `error` and `status_code`, seen at its endpoints of own models [I]."""
    return (Chunk({"error": _error(problem), "status_code": problem.status}),)


def _voiced(turn: Turn) -> Turn:
    if "gpt-oss" in turn.model:
        return turn
    if turn.answer.calls or turn.ask.schema is not None:
        return replace(turn, answer=replace(turn.answer, reasoning=()))
    return replace(turn, answer=inlined(turn.answer))


def _usage(turn: Turn) -> dict[str, Any]:
    now_s = turn.request.now_s
    counts: dict[str, Any] = {
        **usage(turn),
        "completion_tokens_per_sec": 905.18,
        "end_time": now_s + 0.4518,
        "is_last_response": True,
        "start_time": now_s,
        "stop_reason": finish_reason(turn.answer),
        "time_to_first_token": 0.029,
        "total_latency": 0.4518,
        "total_tokens_per_sec": 1006.99,
        "prompt_tokens_details": {"cached_tokens": turn.answer.cached_tokens},
    }
    if turn.answer.reasoning:
        reasoning = len(turn.answer.reasoning) * turn.ask.choices
        counts["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return counts


def _plain(turn: Turn) -> Mapping[str, Any]:
    turn = _voiced(turn)
    choices = []
    for at in range(turn.ask.choices):
        message: dict[str, Any] = {"content": turn.answer.content or None, "role": "assistant"}
        if turn.answer.calls:
            message["tool_calls"] = tool_calls(turn, at)
        if turn.answer.reasoning:
            message["reasoning"] = turn.answer.thought
        scores = logprobs(turn)
        finish = finish_reason(turn.answer)
        choices.append({"finish_reason": finish, "index": at, "logprobs": scores, "message": message})
    return {"choices": choices, **_head(turn, "chat.completion"), "usage": _usage(turn)}


def _head(turn: Turn, kind: str) -> dict[str, Any]:
    head = {"created": turn.request.now_s + 0.000001, "id": turn.uuid, "model": turn.model, "object": kind}
    return {**head, "system_fingerprint": "fastcoe"}


def _stream(turn: Turn) -> Iterator[Chunk]:
    turn = _voiced(turn)
    head = _head(turn, "chat.completion.chunk")
    first = {"content": "", "role": "assistant"}
    for step in coarser(steps(turn, first=first, reasoning_key="reasoning"), WORDS_A_CHUNK):
        delta = {"content": "", **step.delta} if step.finish else {**step.delta, "role": "assistant"}
        scores = logprobs(turn, step.text) if step.text else None
        choice = {"delta": delta, "finish_reason": step.finish, "index": step.choice, "logprobs": scores}
        yield Chunk({"choices": [choice], **head})
    if turn.ask.wants_usage:
        yield Chunk({"choices": [], **head, "usage": _usage(turn)})
    yield Chunk(DONE)


def _list(house: House, _path: re.Match[str]) -> Mapping[str, Any]:
    pricing = {"prompt": "0.0000001", "completion": "0.0000002"}
    head = {"object": "model", "owned_by": "no-reply@sambanova.ai", "context_length": 131072}
    more = {"max_completion_tokens": 16384, "pricing": pricing, "sn_metadata": {}}
    return {"object": "list", "data": [{"id": model, **head, **more} for model in house.models]}


HOUSE: Final = House(
    name="sambanova",
    chat=path("/v1/chat/completions"),
    listing=path("/v1/models"),
    models=("DeepSeek-R1-0528", "Llama-4-Scout-17B-16E-Instruct", "Meta-Llama-3.1-8B-Instruct", "gpt-oss-120b"),
    id_form=SLUG,
    list_body=_list,
    refusal=_refusal,
    plain=_plain,
    stream=_stream,
    failing=_failing,
    headers=lambda _turn: LIMITS,
    image_tokens=IMAGE_TOKENS,
    faults={
        "no key": Problem(401, "Missing API key"),
        "401": Problem(401, "Invalid API key", "invalid_api_key"),
        "404": Problem(404, "Not found", form="bare"),
        "model": Problem(404, "The model `{model}` does not exist.", "model_not_found", param="model"),
        "context": Problem(
            400,
            "This model's maximum context length is 131072 tokens. Please reduce the length of the messages.",
            "context_length_exceeded",
            param="messages",
        ),
        "408": Problem(408, "Request timed out", "request_timeout"),
        "410": Problem(410, "The model is deprecated", "model_deprecated"),
        "429": Problem(429, "Rate limit exceeded", "rate_limit_exceeded"),  # synthetic
        "quota": Problem(429, "You exceeded your quota", "insufficient_quota"),
        "queue": Problem(429, "The queue is full", "queue_full"),
        "500": Problem(500, "Internal Server Error", form="text"),
        "503": Problem(503, "Service under maintenance", form="text"),
    },
)
