"""Text Generation Inference behind hf-inference: empty ids, the role in every delta, one tool call at most.

A tool call never finishes with `tool_calls`, and in a stream with nothing at all; refusals of values come
inside HTTP 200 when streaming. Switch: `undercount=on` reports only the second generation of a request that
offered tools and got text. Provider wire formats, 3.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.simulator.answers import inlined
from gateway.simulator.ask import Ask, from_openai
from gateway.simulator.house import HUB_ID, House, Turn
from gateway.simulator.openai_shape import logprobs, usage
from gateway.simulator.wire import DONE, Chunk, Problem, SimAnswer, SimRequest

FINGERPRINT: Final = "3.2.1-native"
_MODEL: Final = r"/models/(?P<model>[^/]+/[^/]+)/v1"


def _ask(body: Mapping[str, Any], _request: SimRequest) -> Ask:
    """TGI's own `response_format`; a bare string as `tool_choice` names a function; `n` has no effect."""
    ask = replace(from_openai(body), choices=1, schema=None)
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        ask = replace(ask, call=f"name:{choice}")
    grammar = body.get("response_format")
    if not isinstance(grammar, Mapping):
        return ask
    value = grammar["value"]
    if grammar["type"] == "regex":
        return replace(ask, regex=str(value))
    named = grammar["type"] == "json_schema" and isinstance(value, Mapping)
    return replace(ask, schema=value.get("schema", {}) if named else value)


def _refusal(problem: Problem, _request: SimRequest) -> SimAnswer:
    if problem.form in ("typing", "syntax"):
        return SimAnswer(problem.status, problem.message)
    if problem.form == "front":
        return SimAnswer(problem.status, {"error": problem.message}, _front_headers(problem))
    if problem.form == "loading":
        return SimAnswer(problem.status, {"error": problem.message, "estimated_time": 20.0})
    return SimAnswer(problem.status, {"error": problem.message, "error_type": problem.type or "generation"})


def _front_headers(problem: Problem) -> Mapping[str, str]:
    if problem.status != 401:
        return {}
    realm = 'Bearer realm="Authentication required", charset="UTF-8"'
    return {"x-error-message": problem.message, "www-authenticate": realm}


def _failing(problem: Problem) -> tuple[Chunk, ...]:
    """Always with code 422, whatever it is [S]."""
    return (Chunk({"error": {"message": problem.message, "http_status_code": 422}}), Chunk(DONE))


def _voiced(turn: Turn) -> Turn:
    grammar = turn.ask.schema is not None or turn.ask.regex is not None
    if turn.answer.calls or grammar:
        return replace(turn, answer=replace(turn.answer, reasoning=()))
    return replace(turn, answer=inlined(turn.answer))


def _usage(turn: Turn) -> dict[str, Any]:
    """Three counters. A second generation hides the first one's tokens [S]: here a third is missing."""
    counts = usage(turn)
    if turn.switch("undercount", "off") == "on" and turn.ask.tools and not turn.answer.calls:
        hidden = counts["completion_tokens"] // 3
        counts["completion_tokens"] -= hidden
        counts["total_tokens"] -= hidden
    return counts


def _half_a_call(turn: Turn) -> bool:
    """A call that the cap of tokens cut: no stream shows anything of it [S]."""
    return turn.answer.finish == "length" and not turn.answer.text and not turn.answer.reasoning


def _unsayable(turn: Turn) -> Problem | None:
    return Problem(422, "Failed to parse generated text", type="tool_error") if _half_a_call(turn) else None


def _finish(turn: Turn) -> str:
    return {"stop_string": "stop_sequence", "tool_calls": "stop"}.get(turn.answer.finish, turn.answer.finish)


def _call(name: str | None, arguments: str) -> dict[str, Any]:
    return {"id": "0", "type": "function", "function": {"name": name, "arguments": arguments}}


def _plain(turn: Turn) -> Mapping[str, Any]:
    turn = _voiced(turn)
    message: dict[str, Any] = {"role": "assistant"}
    if turn.answer.calls:
        call = _call(turn.answer.calls[0].name, turn.answer.calls[0].arguments)
        call["function"] = {"description": None, **call["function"]}
        message["tool_calls"] = [call]
    else:
        message["content"] = turn.answer.content
    scores = logprobs(turn, with_bytes=False)
    choice = {"index": 0, "message": message, "logprobs": scores, "finish_reason": _finish(turn)}
    return {**_head(turn, "chat.completion"), "choices": [choice], "usage": _usage(turn)}


def _head(turn: Turn, kind: str) -> dict[str, Any]:
    head = {"object": kind, "id": "", "created": turn.created_s}
    return {**head, "model": turn.model, "system_fingerprint": FINGERPRINT}


def _stream(turn: Turn) -> Iterator[Chunk]:
    turn = _voiced(turn)
    head = _head(turn, "chat.completion.chunk")

    def chunk(delta: Mapping[str, Any], finish: str | None, text: str | None = None) -> Chunk:
        scores = logprobs(turn, text, with_bytes=False) if text is not None else None
        said = {"role": "assistant", **delta}
        choice = {"index": 0, "delta": said, "logprobs": scores, "finish_reason": finish}
        return Chunk({**head, "choices": [choice], "usage": None})

    yield Chunk(None)
    for at, piece in enumerate(turn.answer.text):
        last = at == len(turn.answer.text) - 1
        yield chunk({"content": piece}, _finish(turn) if last else None, piece)
    for call in () if _half_a_call(turn) else turn.answer.calls:
        # Every fragment but the first repeats index and id beside a null name; none has a finish reason [R].
        for at, fragment in enumerate(call.fragments):
            yield chunk({"tool_calls": [{"index": 0, **_call(None if at else call.name, fragment)}]}, None)
    if turn.ask.wants_usage:
        yield Chunk({**head, "choices": [], "usage": _usage(turn)})
    yield Chunk(DONE)


def _headers(turn: Turn) -> Mapping[str, str]:
    always = {"x-compute-type": "2-a10-g", "x-compute-characters": str(sum(map(len, turn.ask.texts)))}
    if turn.ask.stream:
        return {**always, "x-accel-buffering": "no"}
    return {
        **always,
        "x-compute-time": "11.876588403",
        "x-total-time": "11876",
        "x-prompt-tokens": str(turn.answer.prompt_tokens),
        "x-generated-tokens": str(turn.completion_tokens),
        "x-inference-id": turn.token,
    }


def _list(_house: House, found: re.Match[str]) -> Mapping[str, Any]:
    entry = {"id": found["model"], "object": "model", "created": 0, "owned_by": found["model"]}
    return {"object": "list", "data": [entry]}


HOUSE: Final = House(
    name="hf-inference",
    chat=re.compile(_MODEL + "/chat/completions"),
    listing=re.compile(_MODEL + "/models"),
    models=("sarvamai/sarvam-m", "meta-llama/Llama-3.2-11B-Vision-Instruct", "HuggingFaceTB/SmolLM3-3B"),
    id_form=HUB_ID,
    list_body=_list,
    refusal=_refusal,
    plain=_plain,
    stream=_stream,
    failing=_failing,
    ask=_ask,
    headers=_headers,
    unsayable=_unsayable,
    calls_max=1,
    late_forms=frozenset({"validation", "late"}),
    body_max_bytes=2_000_000,
    faults={
        "401": Problem(401, "Invalid username or password.", form="front"),
        "402": Problem(402, "You have exceeded your monthly included credits.", form="front"),
        "404": Problem(404, "Not Found", form="front"),
        "model": Problem(404, "Model {model} does not exist", form="front"),
        "context": Problem(
            422,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 131072.",
            type="validation",
            form="validation",
        ),
        "413": Problem(413, "Failed to buffer the request body: length limit exceeded", form="typing"),  # synthetic
        "415": Problem(415, "Expected request with `Content-Type: application/json`", form="typing"),
        "424": Problem(424, "Request failed during generation: Server error", type="generation", form="late"),
        "429": Problem(429, "Model is overloaded", type="overloaded", form="late"),
        "500": Problem(500, "Incomplete generation", type="incomplete_generation", form="late"),
        "503": Problem(503, "Model sarvamai/sarvam-m is currently loading", form="loading"),
        "stream": Problem(424, "Request failed during generation: Server error", type="generation"),
    },
)
