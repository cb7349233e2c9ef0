"""Reads the named events of Cohere's native stream into chunks of the clean dialect. No I/O.

Usage is what Cohere bills (`billed_units`), not what its models saw: `tokens` adds a preamble of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from providers.answers import FINISH_REASONS, AnswerRules, clean_finish, new_call_id
from providers.cohere_request import original_names
from providers.replies import error_inside
from providers.stream import CallState, EventReader
from providers.usage import count, part
from providers.views import decode_object
from providers.wire import ChatRequest, Delta, FailureKind, JsonObject, ProviderFailure, Usage


def read_billed_usage(reported: object) -> Usage | None:
    """Cached tokens refer to `tokens`, of which the bill holds only a part: they are capped by what is billed."""
    billed = reported.get("billed_units") if isinstance(reported, dict) else None
    if not isinstance(reported, dict) or not isinstance(billed, dict):
        return None
    prompt, completion = count(billed.get("input_tokens")), count(billed.get("output_tokens"))
    if prompt is None or completion is None:
        return None
    return Usage(prompt, completion, part(reported.get("cached_tokens"), prompt))


class CohereStreamReader(EventReader):
    """One native stream. Its last word is `message-end`; the `[DONE]` after it says nothing new."""

    def __init__(self, rules: AnswerRules, request: ChatRequest) -> None:
        super().__init__(rules, request)
        self._names = original_names(request.body)
        self._call_indexes: dict[int, int] = {}
        """Cohere's index of a call to ours: its numbers need not begin at 0."""

    def _event(self, name: str, data: bytes, out: list[Delta]) -> None:
        if data.strip() == b"[DONE]":
            self._end(out, told=True)
            return
        value = decode_object(data)
        if value is None:
            self.skipped_events += 1
            return
        if value.get("error") is not None or name == "error":
            raise error_inside(self._rules, value)
        kind = value.get("type") or name
        if kind == "message-end":
            self._message_end(_at(value, "delta"), out)
            return
        read = _EVENTS.get(str(kind))
        delta = None if read is None else read(self, value)
        if delta is not None:
            out.append(delta)

    def _message_start(self, value: JsonObject) -> Delta:
        if isinstance(value.get("id"), str) and value["id"]:
            self.upstream_id = self._id = value["id"]
        self._choice(0).role_given = True
        return self._chunk(0, {"role": "assistant", "content": ""}, None)

    def _content(self, value: JsonObject) -> Delta | None:
        content = _at(value, "delta", "message", "content")
        text, thoughts = content.get("text"), content.get("thinking")
        if isinstance(thoughts, str) and thoughts:
            return self._thoughts(thoughts)
        if isinstance(text, str) and text:
            self._choice(0)
            return self._chunk(0, {"content": text}, None, len(text))
        return None

    def _tool_plan(self, value: JsonObject) -> Delta | None:
        plan = _at(value, "delta", "message").get("tool_plan")
        return self._thoughts(plan) if isinstance(plan, str) and plan else None

    def _thoughts(self, text: str) -> Delta:
        self._choice(0)
        return self._chunk(0, {"reasoning_content": text, "reasoning": text}, None, len(text))

    def _call_start(self, value: JsonObject) -> Delta | None:
        call = _at(value, "delta", "message", "tool_calls")
        function = _at(call, "function")
        native = function.get("name")
        if not isinstance(native, str) or not native:
            return None
        calls = self._choice(0).calls
        index = len(calls)
        self._call_indexes[_index(value)] = index
        state = calls[index] = CallState(str(call.get("id") or "") or new_call_id())
        state.named = True
        name = self._names.get(native, native)
        arguments = function.get("arguments")
        written = arguments if isinstance(arguments, str) and arguments != "null" else ""
        state.has_arguments = bool(written)
        fragment = {"index": index, "id": state.id, "type": "function"}
        fragment["function"] = {"name": name, "arguments": written}
        return self._chunk(0, {"tool_calls": [fragment]}, None, len(name) + len(written))

    def _call_delta(self, value: JsonObject) -> Delta | None:
        arguments = _at(value, "delta", "message", "tool_calls", "function").get("arguments")
        index = self._call_indexes.get(_index(value))
        if index is None or not isinstance(arguments, str) or not arguments:
            return None
        self._choice(0).calls[index].has_arguments = True
        fragment = {"index": index, "function": {"arguments": arguments}}
        return self._chunk(0, {"tool_calls": [fragment]}, None, len(arguments))

    def _call_end(self, value: JsonObject) -> Delta | None:
        """A call without parameters has no `tool-call-delta` at all: it still gets arguments that are JSON."""
        index = self._call_indexes.get(_index(value))
        if index is None or self._choice(0).calls[index].has_arguments:
            return None
        self._choice(0).calls[index].has_arguments = True
        return self._chunk(0, {"tool_calls": [{"index": index, "function": {"arguments": "{}"}}]}, None)

    def _message_end(self, end: JsonObject, out: list[Delta]) -> None:
        self.usage = self._rules.read_usage(end.get("usage"), self._request) or self.usage
        state = self._choice(0)
        if end.get("error") is not None:
            raise error_inside(self._rules, {"error": end["error"]})
        reason = clean_finish(end.get("finish_reason"), has_tool_calls=bool(state.calls))
        if reason is None and not state.calls:
            raise ProviderFailure(FailureKind.TRUNCATED, "the answer ended without a reason")
        owed = state.owed_arguments()
        out.append(self._chunk(0, {"tool_calls": owed} if owed else {}, reason or FINISH_REASONS["TOOL_CALL"]))
        self._mark_finished(state)
        self._end(out, told=True)


_EVENTS: Final[Mapping[str, Any]] = {
    "message-start": CohereStreamReader._message_start,
    "content-start": CohereStreamReader._content,
    "content-delta": CohereStreamReader._content,
    "tool-plan-delta": CohereStreamReader._tool_plan,
    "tool-call-start": CohereStreamReader._call_start,
    "tool-call-delta": CohereStreamReader._call_delta,
    "tool-call-end": CohereStreamReader._call_end,
}
"""What is done with each event; all others (citations, debug, content-end) say nothing for this dialect."""


def _at(value: Any, *path: str) -> JsonObject:
    """The object at the end of a path, or an empty one."""
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _index(value: JsonObject) -> int:
    index = value.get("index")
    return index if type(index) is int else 0
