"""The wire format of vLLM servers, which several providers run behind their own doors.

Rich in nulls; usage in a stream only when asked, in a chunk without choices; `[DONE]` even after a failure.
Switch: `call_ids=changing` gives every fragment of a tool call another id, as some servers do.
Provider wire formats, 3.7 and section 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.simulator.house import Turn
from gateway.simulator.openai_shape import finish_reason, logprobs, steps, tool_calls, usage
from gateway.simulator.wire import DONE, Chunk, Problem, SimAnswer, SimRequest


def _error(problem: Problem) -> dict[str, Any]:
    kind = problem.type or "internal_error"
    return {"message": problem.message, "type": kind, "param": problem.param, "code": problem.code}


def error_object_refusal(problem: Problem, _request: SimRequest) -> SimAnswer:
    """`{"error": {...}}`, as new vLLM and OpenAI have it."""
    return SimAnswer(problem.status, {"error": _error(problem)})


def error_object_failing(problem: Problem) -> tuple[Chunk, ...]:
    """An error in the place of the next chunk, then the end [S]."""
    return (Chunk({"error": _error(problem)}), Chunk(DONE))


def message(turn: Turn, choice: int) -> dict[str, Any]:
    """A message with everything spelt out, null or not."""
    calls = tool_calls(turn, choice, prefix="chatcmpl-tool-")
    return {
        "content": None if calls else turn.answer.content,
        "refusal": None,
        "role": turn.ask.role,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "tool_calls": calls,
        "reasoning_content": turn.answer.thought or None,
    }


def plain(turn: Turn) -> Mapping[str, Any]:
    """A whole answer."""
    choices = [
        {
            "finish_reason": finish_reason(turn.answer),
            "index": at,
            "logprobs": logprobs(turn),
            "message": message(turn, at),
            "stop_reason": None,
        }
        for at in range(turn.ask.choices)
    ]
    counts = {**usage(turn), "completion_tokens_details": None, "prompt_tokens_details": None}
    return {
        "id": f"chatcmpl-{turn.token}",
        "choices": choices,
        "created": turn.created_s,
        "model": turn.model,
        "object": "chat.completion",
        "service_tier": None,
        "system_fingerprint": None,
        "usage": counts,
        "prompt_logprobs": None,
        "kv_transfer_params": None,
    }


def stream(turn: Turn, *, text_in_finish: bool = False) -> Iterator[Chunk]:
    """The chunks of a streamed answer."""
    tail = {"created": turn.created_s, "model": turn.model, "object": "chat.completion.chunk"}
    first = {"content": "", "role": turn.ask.role}
    changing = turn.switch("call_ids", "kept") == "changing"
    for step in steps(turn, first=first, text_in_finish=text_in_finish, call_prefix="chatcmpl-tool-"):
        delta = _renamed(step.delta, step.said_tokens) if changing else step.delta
        choice: dict[str, Any] = {"delta": delta, "finish_reason": step.finish, "index": step.choice}
        choice["logprobs"] = logprobs(turn, step.text) if step.text else None
        if step.finish is not None:
            choice["stop_reason"] = None
        yield Chunk({"id": f"chatcmpl-{turn.token}", "choices": [choice], **tail})
    if turn.ask.wants_usage:
        yield Chunk({"id": f"chatcmpl-{turn.token}", "choices": [], **tail, "usage": usage(turn)})
    yield Chunk(DONE)


def _renamed(delta: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    if "tool_calls" not in delta:
        return delta
    return {"tool_calls": [{**call, "id": f"chatcmpl-tool-{number}"} for call in delta["tool_calls"]]}
