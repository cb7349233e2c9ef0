"""Pieces of the OpenAI-like wire format that several providers share: usage, messages, steps of a stream.

Each provider puts its own keys and order around them; nothing here is sent as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.simulator.answers import Answer
from gateway.simulator.house import Turn


def usage(turn: Turn) -> dict[str, Any]:
    """The three counters everybody has."""
    prompt, completion = turn.answer.prompt_tokens, turn.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def finish_reason(answer: Answer) -> str:
    """OpenAI's word for why an answer ended."""
    return "stop" if answer.finish == "stop_string" else answer.finish


def call_id(turn: Turn, choice: int, at: int, prefix: str = "call_") -> str:
    """An id that no other call of any request has."""
    return f"{prefix}{turn.token[:20]}{choice:02x}{at:02x}"


def tool_calls(turn: Turn, choice: int, *, prefix: str = "call_") -> list[dict[str, Any]]:
    """The calls of a plain answer."""
    return [
        {
            "id": call_id(turn, choice, at, prefix),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for at, call in enumerate(turn.answer.calls)
    ]


def logprobs(turn: Turn, text: str | None = None, *, with_bytes: bool = True) -> dict[str, Any] | None:
    """OpenAI's `logprobs` of one piece, or of the whole text; None when they were not asked for."""
    if turn.ask.logprobs is None:
        return None
    pieces = turn.answer.text if text is None else (text,)
    return {"content": [_token(piece, turn.ask.logprobs, with_bytes) for piece in pieces]}


def _token(piece: str, top: int, with_bytes: bool) -> dict[str, Any]:
    def one(text: str, logprob: float) -> dict[str, Any]:
        entry: dict[str, Any] = {"token": text, "logprob": logprob}
        return {**entry, "bytes": list(text.encode())} if with_bytes else entry

    others = [one(piece if rank == 0 else f"{piece}{rank}", -0.125 - rank) for rank in range(top)]
    return {**one(piece, -0.125), "top_logprobs": others}


@dataclass(frozen=True, slots=True)
class Step:
    """One move of a stream: a delta, perhaps with the finish reason, and how much was said up to it."""

    choice: int
    delta: Mapping[str, Any]
    said_tokens: int
    finish: str | None = None
    first: bool = False
    last: bool = False
    """The finish of the last choice."""
    text: str | None = None
    """The text of this step, for log probabilities."""


def steps(
    turn: Turn,
    *,
    first: Mapping[str, Any] | None,
    reasoning_key: str = "reasoning_content",
    whole_calls: bool = False,
    text_in_finish: bool = False,
    call_prefix: str = "call_",
) -> Iterator[Step]:
    """The moves of all choices, one after the other.

    `first` is the opening delta (None: there is none); `whole_calls` sends each call in one piece;
    `text_in_finish` lets the last piece of text travel with the finish reason.
    """
    said = 0
    for choice in range(turn.ask.choices):
        opened = said
        if first is not None:
            yield Step(choice, first, said, first=True)
        waiting: Step | None = None
        for delta, tokens in _deltas(turn, choice, reasoning_key, whole_calls, call_prefix):
            if waiting is not None:
                yield waiting
            said += tokens
            text = delta.get("content")
            opening = first is None and said == opened + tokens
            waiting = Step(choice, delta, said, first=opening, text=text)
        finish = finish_reason(turn.answer)
        last = choice == turn.ask.choices - 1
        if waiting is not None and text_in_finish and waiting.text is not None:
            yield replace(waiting, finish=finish, last=last)
            continue
        if waiting is not None:
            yield waiting
        yield Step(choice, {}, said, finish=finish, last=last)


def _deltas(
    turn: Turn, choice: int, reasoning_key: str, whole_calls: bool, prefix: str
) -> Iterator[tuple[dict[str, Any], int]]:
    """(delta, tokens it says) for everything between role and finish."""
    for piece in turn.answer.reasoning:
        yield {reasoning_key: piece}, 1
    for piece in turn.answer.text:
        yield {"content": piece}, 1
    for at, call in enumerate(turn.answer.calls):
        head = {"index": at, "id": call_id(turn, choice, at, prefix), "type": "function"}
        if whole_calls:
            function = {"name": call.name, "arguments": call.arguments}
            yield {"tool_calls": [{**head, "function": function}]}, 1 + len(call.fragments)
            continue
        yield {"tool_calls": [{**head, "function": {"name": call.name, "arguments": ""}}]}, 1
        for fragment in call.fragments:
            yield {"tool_calls": [{"index": at, "function": {"arguments": fragment}}]}, 1


def coarser(moves: Iterable[Step], pieces: int) -> Iterator[Step]:
    """The same moves with up to so many pieces of text in one, as providers that flush seldom send them."""
    held: list[Step] = []
    for move in moves:
        only_text = bool(move.text) and not move.finish
        if only_text:
            held.append(move)
        if held and (not only_text or len(held) == pieces):
            text = "".join(step.text or "" for step in held)
            yield replace(held[-1], delta={"content": text}, text=text)
            held = []
        if not only_text:
            yield move
