"""Cohere's native v2: named events, tool plans, two kinds of tokens of which only the smaller is billed.

Arguments of a tool without parameters are the string `null`, and have no event in a stream. Switch:
`fault=498` is a blocked content. Provider wire formats, 3.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.simulator.answers import Call
from gateway.simulator.ask import Ask, from_openai
from gateway.simulator.house import SLUG, House, Turn, path
from gateway.simulator.wire import DONE, Chunk, Problem, SimAnswer, SimRequest

PREAMBLE_TOKENS: Final = 495
"""Of a hidden preamble, counted in `tokens` and not billed; 62 to 1430 in the recordings."""
OUTPUT_OVERHEAD_TOKENS: Final = 1
_FINISH: Final = {
    "stop": "COMPLETE",
    "stop_string": "STOP_SEQUENCE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
}
_PLAN: Final = ("I", " will", " use", " the", " tools", " offered.")


def _ask(body: Mapping[str, Any], _request: SimRequest) -> Ask:
    ask = from_openai(body, "max_tokens")
    form = body.get("response_format") or {}
    schema = form.get("json_schema", {}) if form.get("type") == "json_object" else None
    thinking = body.get("thinking")
    thinks = ask.reasons if thinking is None else thinking.get("type") == "enabled"
    return replace(
        ask,
        call={"REQUIRED": "required", "NONE": "none"}.get(str(body.get("tool_choice")), "auto"),
        schema=schema,
        stop=tuple(body.get("stop_sequences") or ()),
        choices=1,
        reasons=thinks,
    )


def _refusal(problem: Problem, request: SimRequest) -> SimAnswer:
    headers = {"x-debug-trace-id": request.token}
    return SimAnswer(problem.status, {"id": request.token, "message": problem.message}, headers)


def _failing(problem: Problem) -> tuple[Chunk, ...]:
    delta = {"finish_reason": "ERROR", "error": problem.message}
    return (_event("message-end", delta=delta), Chunk(DONE))


def _usage(turn: Turn) -> dict[str, Any]:
    """Billed are prompt and answer; `tokens` add the preamble, most of which the cache holds [R]."""
    billed = {"input_tokens": turn.answer.prompt_tokens, "output_tokens": turn.answer.completion_tokens}
    real = {
        "input_tokens": billed["input_tokens"] + PREAMBLE_TOKENS,
        "output_tokens": billed["output_tokens"] + OUTPUT_OVERHEAD_TOKENS,
    }
    cached = real["input_tokens"] // 64 * 64
    return {"billed_units": billed, "tokens": real, "cached_tokens": cached}


def _call_id(turn: Turn, at: int, call: Call) -> str:
    return f"{call.name}_{turn.token[:10]}{at:02x}"


def _plain(turn: Turn) -> Mapping[str, Any]:
    answer = turn.answer
    message: dict[str, Any] = {"role": "assistant"}
    content = [{"type": "thinking", "thinking": answer.thought}] if answer.reasoning else []
    if answer.calls:
        message["tool_plan"] = "".join(_PLAN)
        message["tool_calls"] = [
            {
                "id": _call_id(turn, at, call),
                "type": "function",
                "function": {"name": call.name, "arguments": "null" if call.parameterless else call.arguments},
            }
            for at, call in enumerate(answer.calls)
        ]
    elif answer.text:
        content = [*content, {"type": "text", "text": answer.content}]
    if content:
        message["content"] = content
    done: dict[str, Any] = {"id": turn.uuid, "message": message, "finish_reason": _FINISH[answer.finish]}
    if turn.ask.logprobs is not None:
        done["logprobs"] = _scores(answer.text)
    return {**done, "usage": _usage(turn)}


def _scores(pieces: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"token_ids": [at], "text": piece, "logprobs": [-0.125]} for at, piece in enumerate(pieces)]


def _event(name: str, index: int | None = None, **more: Any) -> Chunk:
    place = {} if index is None else {"index": index}
    return Chunk({"type": name, **place, **more}, event=name)


def _said(name: str, index: int, **message: Any) -> Chunk:
    return _event(name, index, delta={"message": message})


def _stream(turn: Turn) -> Iterator[Chunk]:
    empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    start = {"id": turn.uuid, "type": "message-start", "delta": {"message": empty}}
    yield Chunk(start, event="message-start")
    answer = turn.answer
    blocks = [(kind, pieces) for kind, pieces in (("thinking", answer.reasoning), ("text", answer.text)) if pieces]
    for index, (kind, pieces) in enumerate(blocks):
        yield _said("content-start", index, content={"type": kind, kind: ""})
        for piece in pieces:
            yield _said("content-delta", index, content={kind: piece})
        yield _event("content-end", index)
    if answer.calls:
        for piece in _PLAN:
            yield _event("tool-plan-delta", delta={"message": {"tool_plan": piece}})
    for index, call in enumerate(answer.calls, start=len(blocks)):
        yield from _call_events(turn, index, call)
    end = {"finish_reason": _FINISH[answer.finish], "usage": _usage(turn)}
    yield _event("message-end", delta=end)
    yield Chunk(DONE)


def _call_events(turn: Turn, index: int, call: Call) -> Iterator[Chunk]:
    """`tool_calls` is an object here, not a list [R]."""
    head = {"id": _call_id(turn, index, call), "type": "function", "function": {"name": call.name, "arguments": ""}}
    yield _said("tool-call-start", index, tool_calls=head)
    for fragment in () if call.parameterless else call.fragments:
        yield _said("tool-call-delta", index, tool_calls={"function": {"arguments": fragment}})
    yield _event("tool-call-end", index)


def _headers(turn: Turn) -> Mapping[str, str]:
    counts = {"num_tokens": str(turn.answer.prompt_tokens + turn.answer.completion_tokens)}
    return {
        "x-debug-trace-id": turn.token,
        "x-trial-endpoint-call-limit": "100",
        "x-trial-endpoint-call-remaining": "99",
        **({} if turn.ask.stream else counts),
    }


def _list(house: House, _path: re.Match[str]) -> Mapping[str, Any]:
    return {"models": [{"name": model, "endpoints": ["chat"], "context_length": 128000} for model in house.models]}


HOUSE: Final = House(
    name="cohere",
    chat=path("/v2/chat"),
    listing=re.compile("/v[12]/models"),
    models=("command-a-03-2025", "command-r-plus-04-2024", "c4ai-aya-vision-8b", "command-a-reasoning-08-2025"),
    id_form=SLUG,
    list_body=_list,
    refusal=_refusal,
    plain=_plain,
    stream=_stream,
    failing=_failing,
    ask=_ask,
    headers=_headers,
    faults={
        "no key": Problem(401, "no api key supplied"),
        "401": Problem(401, "invalid api token"),
        "402": Problem(402, "Please add or update your payment method to continue"),
        "404": Problem(404, "not found"),
        "model": Problem(404, "model '{model}' not found"),
        "context": Problem(400, "too many tokens: total number of tokens in the prompt cannot exceed 131072"),
        "429": Problem(429, "You are using a Trial key, which is limited to 40 API calls / minute."),
        "498": Problem(498, "blocked: the request holds a blocked token"),
        "499": Problem(499, "the request was cancelled by the user"),
    },
)
