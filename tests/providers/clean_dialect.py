"""What the clean dialect is, as assertions: nothing that leaves an adapter may fail one of these."""

from __future__ import annotations

import json
from typing import Any

from providers.wire import Delta, Usage

REASONS = {"stop", "length", "tool_calls", "content_filter"}


def assert_clean_reply(body: bytes) -> dict[str, Any]:
    reply = _envelope(body, "chat.completion")
    assert reply["choices"], "a reply has choices"
    for choice in reply["choices"]:
        message = choice["message"]
        assert message["role"] == "assistant"
        assert message["content"] is None or isinstance(message["content"], str)
        assert choice["finish_reason"] in REASONS
        _assert_logprobs(choice)
        _assert_reasoning(message)
        calls = message.get("tool_calls")
        assert calls is None or calls, "an empty list of tool calls is left out"
        for call in calls or ():
            assert isinstance(call["id"], str)
            assert call["id"]
            assert call["type"] == "function"
            assert isinstance(call["function"]["name"], str)
            json.loads(call["function"]["arguments"])
        if calls:
            assert choice["finish_reason"] != "stop"
        else:
            assert isinstance(message["content"], str)
    assert "usage" in reply
    if reply["usage"] is not None:
        _assert_usage(reply["usage"])
    return reply


def assert_clean_chunk(delta: Delta, *, wants_usage: bool) -> dict[str, Any]:
    assert b"\n" not in delta.data
    chunk = _envelope(delta.data, "chat.completion.chunk")
    if delta.usage_only:
        assert chunk["choices"] == []
        _assert_usage(chunk["usage"])
        return chunk
    assert chunk["choices"]
    assert chunk.get("usage") is None
    content = False
    for choice in chunk["choices"]:
        part = choice["delta"]
        assert isinstance(part.get("content"), str | None)
        assert choice["finish_reason"] in {*REASONS, None}, "null until the end, and never left out"
        _assert_logprobs(choice)
        _assert_reasoning(part)
        content = content or bool(part.get("content") or part.get("reasoning") or part.get("tool_calls"))
        for call in part.get("tool_calls") or ():
            assert type(call["index"]) is int
            function = call["function"]
            assert isinstance(function.get("name", ""), str)
            assert isinstance(function.get("arguments", ""), str)
    assert delta.has_finish == any(choice["finish_reason"] for choice in chunk["choices"])
    assert not delta.has_content or content
    return chunk


def _envelope(body: bytes, kind: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(body)
    assert value["object"] == kind
    assert isinstance(value["id"], str)
    assert value["id"]
    assert type(value["created"]) is int
    assert isinstance(value["model"], str)
    assert value["model"]
    assert isinstance(value["choices"], list)
    assert "error" not in value
    assert "message" not in value
    assert isinstance(value.get("system_fingerprint"), str | None)
    indexes = [choice["index"] for choice in value["choices"]]
    assert all(type(index) is int for index in indexes)
    assert len(set(indexes)) == len(indexes)
    return value


def _assert_logprobs(choice: dict[str, Any]) -> None:
    logprobs = choice.get("logprobs")
    assert logprobs is None or isinstance(logprobs["content"], list | None)


def _assert_reasoning(message: dict[str, Any]) -> None:
    assert message.get("reasoning") == message.get("reasoning_content")


def _assert_usage(usage: dict[str, Any]) -> None:
    read = Usage(
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["prompt_tokens_details"]["cached_tokens"],
        usage["completion_tokens_details"]["reasoning_tokens"],
    )
    assert usage == read.as_openai()


class Assembled:
    """What a client makes of a stream, in the way of OpenAI's own: strings are strung together, calls by index."""

    def __init__(self, deltas: list[Delta], *, wants_usage: bool = False) -> None:
        self.content = ""
        self.reasoning = ""
        self.role = ""
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.calls: dict[int, dict[str, str]] = {}
        self.ids: set[str] = set()
        self.text_chars = 0
        for delta in deltas:
            self._add(delta, assert_clean_chunk(delta, wants_usage=wants_usage))

    @property
    def tool_calls(self) -> list[list[str]]:
        return [[call["name"], call["arguments"]] for _, call in sorted(self.calls.items())]

    def _add(self, delta: Delta, chunk: dict[str, Any]) -> None:
        self.ids.add(chunk["id"])
        self.text_chars += delta.text_chars
        if delta.usage_only:
            assert self.usage is None, "one usage chunk"
            assert self.finish_reason, "after the end"
            self.usage = chunk["usage"]
        for choice in chunk["choices"]:
            part = choice["delta"]
            self.role += part.get("role") or ""
            self.content += part.get("content") or ""
            self.reasoning += part.get("reasoning") or ""
            for call in part.get("tool_calls") or ():
                known = self.calls.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
                known["id"] += call.get("id", "")
                known["name"] += call["function"].get("name", "")
                known["arguments"] += call["function"].get("arguments", "")
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
