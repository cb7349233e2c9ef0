"""Hyperbolic, an old vLLM: JSON with blanks, cumulative usage in every chunk and one token too high.

Refusals of typing are FastAPI's list of details, others flat. Provider wire formats, 3.6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.simulator.answers import inlined
from gateway.simulator.ask import Ask, from_openai
from gateway.simulator.house import HUB_ID, House, Turn, openai_list, path
from gateway.simulator.openai_shape import finish_reason, logprobs, steps, tool_calls, usage
from gateway.simulator.wire import DONE, Chunk, Problem, SimAnswer, SimRequest


def _ask(body: Mapping[str, Any], _request: SimRequest) -> Ask:
    """`max_completion_tokens` is younger than this server and has no effect [G]."""
    return from_openai(body, "max_tokens")


def _refusal(problem: Problem, _request: SimRequest) -> SimAnswer:
    if problem.form == "bare":
        return SimAnswer(problem.status, {"detail": problem.message})
    if problem.form in ("detail", "syntax"):
        place = ["body", *(problem.param or "").split(".")]
        kind = "missing" if problem.message == "Field required" else "value_error"
        shown = problem.given if isinstance(problem.given, str | int | float) else None
        return SimAnswer(
            422, {"detail": [{"type": kind, "loc": place, "msg": problem.message, "input": shown}]}, spaced=True
        )
    return SimAnswer(problem.status, _flat(problem), spaced=True)


def _flat(problem: Problem) -> dict[str, Any]:
    code = problem.status if problem.code is None else problem.code
    head = {"object": "error", "message": problem.message, "type": problem.type}
    return {**head, "param": problem.param, "code": code}


def _failing(problem: Problem) -> tuple[Chunk, ...]:
    """Synthetic: the way of the vLLM of its time."""
    return (Chunk(_flat(problem) | {"code": 400}), Chunk(DONE))


def _voiced(turn: Turn) -> Turn:
    if turn.answer.calls or turn.ask.schema is not None:
        return replace(turn, answer=replace(turn.answer, reasoning=()))
    return replace(turn, answer=inlined(turn.answer))


def _plain(turn: Turn) -> Mapping[str, Any]:
    turn = _voiced(turn)
    choices = []
    for at in range(turn.ask.choices):
        message: dict[str, Any] = {"role": "assistant", "content": turn.answer.content}
        if turn.answer.calls:
            calls = tool_calls(turn, at, prefix="chatcmpl-tool-")
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        finish = {"finish_reason": finish_reason(turn.answer), "logprobs": logprobs(turn)}
        choices.append({"index": at, "message": message, **finish})
    head = {"id": f"chat-{turn.token}", "object": "chat.completion", "created": turn.created_s}
    return {**head, "model": turn.model, "choices": choices, "usage": usage(turn)}


def _stream(turn: Turn) -> Iterator[Chunk]:
    """The first, empty chunk counts one token already, and the last so one too many [R]."""
    turn = _voiced(turn)
    prompt = turn.answer.prompt_tokens
    head = {"id": f"chat-{turn.token}", "object": "chat.completion.chunk", "created": turn.created_s}
    first = {"role": "assistant", "content": ""}
    for step in steps(turn, first=first, text_in_finish=True, call_prefix="chatcmpl-tool-"):
        said = step.said_tokens + 1
        counts = {"prompt_tokens": prompt, "total_tokens": prompt + said, "completion_tokens": said}
        scores = logprobs(turn, step.text) if step.text else None
        choice = {"index": step.choice, "delta": step.delta, "logprobs": scores, "finish_reason": step.finish}
        if step.finish is not None:
            choice["stop_reason"] = None
        yield Chunk({**head, "model": turn.model, "choices": [choice], "usage": counts})
    yield Chunk(DONE)


HOUSE: Final = House(
    name="hyperbolic",
    chat=path("/v1/chat/completions"),
    listing=path("/v1/models"),
    models=("deepseek-ai/DeepSeek-R1-0528", "Qwen/Qwen2.5-VL-7B-Instruct", "meta-llama/Llama-3.2-3B-Instruct"),
    id_form=HUB_ID,
    list_body=openai_list,
    refusal=_refusal,
    plain=_plain,
    stream=_stream,
    failing=_failing,
    ask=_ask,
    spaced=True,
    faults={
        "401": Problem(401, "Could not validate credentials", form="bare"),  # synthetic
        "402": Problem(402, "Insufficient funds", form="bare"),  # synthetic
        "404": Problem(404, "Not Found", form="bare"),
        "model": Problem(400, "Only A && B && C allowed now, your model {model}", 40301),
        "context": Problem(
            400, "This model's maximum context length is 131072 tokens.", 400, "BadRequestError", "messages"
        ),
        "429": Problem(429, "Rate limit exceeded", form="bare"),  # synthetic
    },
)
