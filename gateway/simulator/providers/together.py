"""Together: a `text` twin of each delta, seeds beyond 2^63, `retry-after` on status 200, bare model list.

DeepSeek-R1 thinks inside the content, other models in `reasoning`. Provider wire formats, 3.11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.simulator.answers import inlined
from gateway.simulator.ask import Ask, from_openai
from gateway.simulator.house import HUB_ID, House, Turn, path
from gateway.simulator.openai_shape import finish_reason, steps, tool_calls, usage
from gateway.simulator.wire import DONE, Chunk, Problem, SimAnswer, SimRequest

SEED: Final = 14836394043272784000
"""Recorded; does not fit a signed 64-bit number."""
LIMITS: Final = {
    "retry-after": "2",
    "x-ratelimit-limit": "100",
    "x-ratelimit-remaining": "199",
    "x-ratelimit-reset": "2",
    "x-ratelimit-limit-tokens": "33333",
    "x-ratelimit-remaining-tokens": "32051",
    "x-ratelimit": "false",
    "x-inference-version": "v2",
}


def _ask(body: Mapping[str, Any], _request: SimRequest) -> Ask:
    """`max_completion_tokens` is not in its description and has no effect; `logprobs` is a number."""
    ask = from_openai(body, "max_tokens")
    return replace(ask, logprobs=body["logprobs"] or None) if body.get("logprobs") is not None else ask


def _error(problem: Problem) -> dict[str, Any]:
    kind = problem.type or "server_error"
    return {"message": problem.message, "type": kind, "param": problem.param, "code": problem.code}


def _refusal(problem: Problem, request: SimRequest) -> SimAnswer:
    return SimAnswer(
        problem.status,
        {"id": f"{request.token[:16]}-CDG", "error": _error(problem)},
        {"retry-after": "2"} if problem.status == 429 else {},
    )


def _failing(problem: Problem) -> tuple[Chunk, ...]:
    """Synthetic: no failure inside a stream was recorded."""
    return (Chunk({"error": _error(problem)}), Chunk(DONE))


def _voiced(turn: Turn) -> Turn:
    plain_text = not turn.answer.calls and turn.ask.schema is None
    return replace(turn, answer=inlined(turn.answer)) if "DeepSeek-R1" in turn.model and plain_text else turn


def _usage(turn: Turn) -> dict[str, Any]:
    return {**usage(turn), "cached_tokens": turn.answer.cached_tokens}


def _old_logprobs(turn: Turn) -> dict[str, Any] | None:
    if turn.ask.logprobs is None:
        return None
    pieces = turn.answer.text
    return {
        "tokens": list(pieces),
        "token_logprobs": [-0.125] * len(pieces),
        "token_ids": list(range(len(pieces))),
        "top_logprobs": [{piece: -0.125} for piece in pieces],
    }


def _plain(turn: Turn) -> Mapping[str, Any]:
    turn = _voiced(turn)
    choices = []
    for at in range(turn.ask.choices):
        calls = [{**call, "index": i} for i, call in enumerate(tool_calls(turn, at))]
        message: dict[str, Any] = {"role": "assistant", "content": turn.answer.content, "tool_calls": calls}
        if turn.answer.reasoning:
            message["reasoning"] = turn.answer.thought
        seed = None if calls else SEED
        logprobs = _old_logprobs(turn)
        finish = finish_reason(turn.answer)
        choices.append({"index": at, "finish_reason": finish, "seed": seed, "logprobs": logprobs, "message": message})
    head = {"id": _id(turn), "object": "chat.completion", "created": turn.created_s, "model": turn.model}
    return {**head, "prompt": [], "choices": choices, "usage": _usage(turn)}


def _id(turn: Turn) -> str:
    return f"{turn.token[:7]}-{turn.token[7:13]}-{turn.token[13:29]}"


def _stream(turn: Turn) -> Iterator[Chunk]:
    """Tool calls: the description's whole call with its index [S]; no stream of one was recorded."""
    turn = _voiced(turn)
    head = {"id": _id(turn), "object": "chat.completion.chunk", "created": turn.created_s}
    for step in steps(turn, first=None, reasoning_key="reasoning", whole_calls=True):
        text = step.text or ""
        delta = {"token_id": step.said_tokens, "role": "assistant", "content": text, "tool_calls": None, **step.delta}
        choice = {
            "index": step.choice,
            "text": text,
            "logprobs": -0.125 if text and turn.ask.logprobs is not None else None,
            "finish_reason": step.finish,
            "seed": SEED if step.finish else None,
            "delta": delta,
        }
        yield Chunk({**head, "choices": [choice], "model": turn.model, "usage": _usage(turn) if step.last else None})
    yield Chunk(DONE)


def _list(house: House, _path: re.Match[str]) -> list[Any]:
    pricing = {"input": 0.18, "output": 0.59, "hourly": 0, "base": 0, "finetune": 0}
    head = {"object": "model", "created": 0, "type": "chat", "context_length": 131072}
    return [{"id": model, **head, "pricing": pricing} for model in house.models]


HOUSE: Final = House(
    name="together",
    chat=path("/v1/chat/completions"),
    listing=path("/v1/models"),
    models=(
        "deepseek-ai/DeepSeek-R1",
        "meta-llama/Llama-4-Scout-17B-16E-Instruct",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    ),
    id_form=HUB_ID,
    list_body=_list,
    refusal=_refusal,
    plain=_plain,
    stream=_stream,
    failing=_failing,
    ask=_ask,
    headers=lambda _turn: LIMITS,
    faults={
        "401": Problem(401, "Invalid API key provided.", "invalid_api_key", "invalid_request_error"),
        "402": Problem(402, "Spend limit reached", None, "credit_limit"),  # synthetic text
        "404": Problem(404, "Not found", None, "invalid_request_error"),
        "model": Problem(
            404, "Unable to access model {model}.", "model_not_available", "invalid_request_error", "model"
        ),
        "context": Problem(
            422,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 131073.",
            None,
            "invalid_request_error",
        ),
        "403": Problem(403, "The prompt tokens and max_tokens exceed the model's context length.", None, "forbidden"),
        "429": Problem(
            429, "You have been rate limited. Your rate limit is 60 queries per minute.", None, "credit_limit"
        ),
        "503": Problem(503, "The server is overloaded, please try again later.", None, "overloaded"),
        "524": Problem(524, "<html><body>524: A timeout occurred</body></html>", None, "html"),
    },
)
