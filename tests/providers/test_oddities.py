"""What is peculiar to one provider, or to one rare kind of stream, beyond the contract of all."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import providers
from providers.base import Adapter
from providers.registry import ADAPTERS
from providers.sse import EVENT_BYTES_MAX, encode_event
from providers.wire import FailureKind, UpstreamCall
from tests.providers.clean_dialect import Assembled, assert_clean_reply
from tests.providers.golden_samples import Heard, request, stream, target_of

OPENAI = ADAPTERS["openai"]
USER = [{"role": "user", "content": "Hi"}]


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **top: Any) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **top}
    return encode_event(json.dumps(body).encode())


def opened(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


DONE = b"data: [DONE]\n\n"


def call_of(name: str, canonical: dict[str, Any]) -> tuple[dict[str, Any], UpstreamCall]:
    adapter = ADAPTERS[name]
    call = adapter.build_call(request({"messages": USER, **canonical}), target_of(adapter))
    return json.loads(call.body), call


def reply_of(adapter: Adapter, choice: dict[str, Any], usage: Any = None, **canonical: Any) -> dict[str, Any]:
    body = {"id": "x", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    reply = adapter.parse_reply(request({"messages": USER, **canonical}), json.dumps(body).encode())
    return assert_clean_reply(reply.body)


def test_the_cellar_knows_nothing_but_itself_and_msgspec() -> None:
    allowed = set(sys.stdlib_module_names) | {"providers"}
    for path in Path(providers.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            extra = {"msgspec"} if path.name in ("wire.py", "views.py") else set()
            assert {name.split(".")[0] for name in names} <= allowed | extra, path.name


# --- streams ---------------------------------------------------------------------------------------------------


def test_a_clean_event_is_relayed_byte_for_byte() -> None:
    events = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "é\u2028"}, usage=None),
        chunk({"reasoning": "r", "reasoning_content": "r"}),
        chunk(
            {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
    ]
    heard = OPENAI.open_stream(request(streams=True))
    assert [encode_event(delta.data) for delta in heard.feed(b"".join(events))] == events
    assert [delta.has_content for delta in heard.feed(chunk({}) + chunk({"content": None}))] == [False, False]


def test_text_is_counted_in_characters() -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = chunk({"role": "assistant", "content": "é€"}) + chunk({"tool_calls": [call]}) + chunk({}, "stop") + DONE
    heard = Heard(OPENAI, request(streams=True), body)
    assert sum(delta.text_chars for delta in heard.deltas) == 5


def test_each_of_several_choices_must_end() -> None:
    asked = request({"messages": USER, "n": 2}, streams=True)
    first = chunk({"content": "a"}) + chunk({"content": "b"}, index=1) + chunk({}, "stop")
    reader = OPENAI.open_stream(asked)
    reader.feed(first)
    assert not reader.finished
    reader.feed(chunk({}, "stop", index=1))
    assert reader.finished
    cut = Heard(OPENAI, asked, first)
    assert cut.failure is not None
    assert cut.failure.kind is FailureKind.TRUNCATED


def test_the_last_usable_usage_wins_and_is_told_once_at_the_end() -> None:
    counts = [{"prompt_tokens": 5, "completion_tokens": n} for n in (1, 2)]
    body = chunk({"content": "a"}, usage=counts[0]) + chunk({}, "stop", usage=counts[1])
    body += chunk({}, usage={"prompt_tokens": 5, "completion_tokens": 2.5}) + DONE
    heard = Heard(OPENAI, request(streams=True, wants_usage=True), body)
    told = Assembled(heard.deltas, wants_usage=True)
    assert told.usage is not None
    assert told.usage["completion_tokens"] == 2
    assert [delta.usage_only for delta in heard.deltas].count(True) == 1
    assert heard.deltas[-1].usage_only


def test_tool_calls_without_an_index_are_kept_apart() -> None:
    def call(call_id: str, name: str) -> bytes:
        return chunk(
            {"tool_calls": [{"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}]}
        )

    heard = Heard(OPENAI, request(streams=True), call("a", "f") + call("b", "g") + chunk({}, "stop") + DONE)
    told = Assembled(heard.deltas)
    assert told.tool_calls == [["f", "{}"], ["g", "{}"]]
    assert told.finish_reason == "tool_calls"


def test_ids_and_names_that_repeat_are_said_once() -> None:
    def part(name: str | None, arguments: Any) -> bytes:
        call = {"index": 0, "id": "a", "type": "function", "function": {"name": name, "arguments": arguments}}
        return chunk({"tool_calls": [call]})

    body = part("f", "{") + part("f", '"a":') + part(None, "1}") + part(None, None) + chunk({}, "tool_calls") + DONE
    told = Assembled(Heard(OPENAI, request(streams=True), body).deltas)
    assert told.calls == {0: {"id": "a", "name": "f", "arguments": '{"a":1}'}}


def test_an_old_function_call_becomes_a_tool_call() -> None:
    body = chunk({"function_call": {"name": "f", "arguments": "{"}}) + chunk({"function_call": {"arguments": "}"}})
    told = Assembled(Heard(OPENAI, request(streams=True), body + chunk({}, "function_call") + DONE).deltas)
    assert told.tool_calls == [["f", "{}"]]
    message = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    clean = reply_of(OPENAI, {"message": message, "finish_reason": "function_call"})
    assert clean["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "f"


def test_an_event_of_several_lines_leaves_as_one() -> None:
    pretty = json.dumps(json.loads(chunk({"content": "a"})[6:]), indent=1).replace("\n", "\ndata: ")
    reader = OPENAI.open_stream(request(streams=True))
    deltas = reader.feed(b"data: " + pretty.encode() + b"\n\n")
    assert Assembled(deltas).content == "a"


def test_empty_choices_missing_deltas_and_unknown_events_say_nothing() -> None:
    odd = chunk({}, choices=[]) + encode_event(b'{"type":"ping"}') + encode_event(b"[]")
    odd += chunk({}, choices=[{"index": 0}, {"index": 0, "delta": None}, 5][:1])
    heard = Heard(OPENAI, request(streams=True), odd + chunk({"content": "a"}, "") + chunk({}, "stop") + DONE)
    assert Assembled(heard.deltas).content == "a"
    assert heard.reader.skipped_events == 1


def test_a_null_error_is_no_error_and_is_not_passed_on() -> None:
    heard = Heard(OPENAI, request(streams=True), chunk({"content": "a"}, "stop", error=None) + DONE)
    assert Assembled(heard.deltas).content == "a"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error":{"message":"no","code":"insufficient_quota"}}', FailureKind.PAYMENT),
        (b"<html>busy</html>", FailureKind.UNREADABLE),
        (b'{"choices":[{"message":{"content":"whole"},"finish_reason":"stop"}]}', FailureKind.UNREADABLE),
        (b"event: error\ndata: not json\n\n", FailureKind.ERROR_EVENT),
        (chunk({"content": "a"}, "error"), FailureKind.ERROR_EVENT),
        (chunk({}, x_groq={"error": "model crashed"}), FailureKind.ERROR_EVENT),
    ],
)
def test_a_body_that_is_no_stream_is_understood(body: bytes, kind: FailureKind) -> None:
    heard = Heard(OPENAI, request(streams=True), body)
    assert heard.failure is not None
    assert heard.failure.kind is kind


def test_an_endless_event_is_given_up() -> None:
    reader = OPENAI.open_stream(request(streams=True))
    reader.feed(chunk({"content": "a"}))
    reader.feed(b"data: " + b"x" * EVENT_BYTES_MAX)
    assert reader.failure is not None
    assert reader.failure.kind is FailureKind.UNREADABLE
    assert reader.failure.text_chars == 1


def test_the_usage_of_a_broken_stream_is_kept() -> None:
    count = {"prompt_tokens": 5, "completion_tokens": 1}
    heard = Heard(OPENAI, request(streams=True), chunk({"content": "a"}, usage=count))
    assert heard.failure is not None
    assert heard.failure.usage is not None
    assert heard.failure.usage.total_tokens == 6


# --- providers -------------------------------------------------------------------------------------------------


def test_hyperbolic_counts_one_token_too_many_in_a_stream_only() -> None:
    body = stream("hyperbolic", "text")
    adapter = ADAPTERS["hyperbolic"]
    capped = Heard(adapter, request({"messages": USER, "max_tokens": 20}, streams=True), body).reader.usage
    assert capped is not None
    assert capped.completion_tokens == 20
    plain = Heard(adapter, request({"messages": USER, "max_tokens": 10}, streams=True), body).reader.usage
    assert plain is not None
    assert plain.completion_tokens == 21


def test_together_counts_log_probabilities() -> None:
    together = ADAPTERS["together"]
    assert call_of("together", {"logprobs": True})[0]["logprobs"] == 1
    legacy = {"tokens": ["a", "é"], "token_logprobs": [-0.5, None], "top_logprobs": [{"a": -0.5, "b": -2.0}]}
    message = {"role": "assistant", "content": "aé"}
    clean = reply_of(together, {"message": message, "finish_reason": "stop", "logprobs": legacy})
    content = clean["choices"][0]["logprobs"]["content"]
    assert [(one["token"], one["logprob"], len(one["top_logprobs"])) for one in content] == [("a", -0.5, 2)]
    body = chunk({}, choices=[{"index": 0, "delta": {"content": "é"}, "logprobs": -0.25, "finish_reason": "stop"}])
    deltas = Heard(together, request(streams=True), body + DONE).deltas
    (told,) = json.loads(deltas[0].data)["choices"][0]["logprobs"]["content"]
    assert (told["token"], told["logprob"], told["bytes"]) == ("é", -0.25, [0xC3, 0xA9])


def test_sambanova_flattens_text_and_wraps_a_bare_logprob() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body, _ = call_of("sambanova", {"messages": [{"role": "user", "content": parts}]})
    assert body["messages"] == [{"role": "user", "content": "ab"}]
    choice = {"message": {"content": "a"}, "finish_reason": "stop", "logprobs": {"content": {"token": "a"}}}
    assert reply_of(ADAPTERS["sambanova"], choice)["choices"][0]["logprobs"] == {"content": [{"token": "a"}]}


def test_tgi_says_what_it_cannot_bear() -> None:
    body, call = call_of("hf-inference", {"top_p": 0, "presence_penalty": -2, "seed": 1 << 64})
    assert body == {"model": "org/model", "messages": USER, "top_p": 0.01}
    assert set(call.dropped) == {"top_p", "presence_penalty", "seed"}
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    body, call = call_of("hf-inference", {"messages": [{"role": "assistant", "content": "a", "tool_calls": calls}]})
    assert "content" not in body["messages"][0]
    assert call.dropped == ("messages[].content",)


def test_a_model_id_is_a_path_at_tgi_and_cannot_climb() -> None:
    adapter = ADAPTERS["hf-inference"]
    assert target_of(adapter, "org/a b#?%").url.endswith("/hf-inference/models/org/a%20b%23%3F%25/v1/chat/completions")
    for model in ("org/../../etc", "..", "org//x", ""):
        with pytest.raises(ValueError, match="path"):
            target_of(adapter, model)


def test_cerebras_takes_a_strict_schema_only_where_it_is_closed() -> None:
    def asked(**schema: Any) -> dict[str, Any]:
        named = {"name": "x", "strict": True, "schema": {"type": "object", "properties": {}, **schema}}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    body, call = call_of("cerebras", asked(additionalProperties=False))
    assert body["response_format"]["json_schema"]["strict"] is True
    body, call = call_of("cerebras", asked())
    assert "strict" not in body["response_format"]["json_schema"]
    assert call.dropped == ("response_format.json_schema.strict",)


def test_fireworks_takes_no_strict_functions() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}]
    body, call = call_of("fireworks-ai", {"tools": tools})
    assert "strict" not in body["tools"][0]["function"]
    assert call.dropped == ("tools[].function.strict",)


# --- cohere ----------------------------------------------------------------------------------------------------


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}, **more}}


def test_cohere_gets_tool_names_it_can_bear_and_callers_get_their_own_back() -> None:
    canonical = {"messages": USER, "tools": [tool("get-it"), tool("get_it"), tool("1.x"), tool("é")]}
    adapter = ADAPTERS["cohere"]
    body, _ = call_of("cohere", canonical)
    sent = [entry["function"]["name"] for entry in body["tools"]]
    assert sent == ["get_it_2", "get_it", "_1_x", "_"]
    for native, own in zip(sent, ("get-it", "get_it", "1.x", "é"), strict=True):
        call = {"id": "a", "type": "function", "function": {"name": native, "arguments": "{}"}}
        wire = {"id": "x", "message": {"role": "assistant", "tool_calls": [call]}, "finish_reason": "TOOL_CALL"}
        reply = adapter.parse_reply(request(canonical), json.dumps(wire).encode())
        message = assert_clean_reply(reply.body)["choices"][0]["message"]
        assert message["tool_calls"][0]["function"]["name"] == own
        assert reply.usage is None
        start = {"type": "tool-call-start", "index": 3, "delta": {"message": {"tool_calls": call}}}
        end = {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}}
        streamed = encode_event(json.dumps(start).encode()) + encode_event(json.dumps(end).encode())
        assert Assembled(Heard(adapter, request(canonical, streams=True), streamed).deltas).tool_calls == [[own, "{}"]]


def test_cohere_is_asked_within_its_limits() -> None:
    body, call = call_of("cohere", {"top_p": 1, "temperature": 2, "frequency_penalty": -1, "presence_penalty": 1.5})
    assert (body["p"], body["temperature"], body["frequency_penalty"], body["presence_penalty"]) == (0.99, 1, 0, 1)
    assert set(call.dropped) == {"top_p", "temperature", "frequency_penalty", "presence_penalty"}
    body, call = call_of("cohere", {"tools": [tool("f", strict=True)], "tool_choice": "none"})
    assert (body["tool_choice"], body["strict_tools"], call.dropped) == ("NONE", True, ())
    assert call_of("cohere", {"tools": [tool("f")], "tool_choice": "auto"})[0].get("tool_choice") is None
    assert call_of("cohere", {"reasoning_effort": "none"})[0]["thinking"] == {"type": "disabled"}


def test_cohere_gets_past_reasoning_as_thinking() -> None:
    past = {"role": "assistant", "content": "42", "reasoning_content": "hm"}
    body, call = call_of("cohere", {"messages": [*USER, past, *USER]})
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "42"},
    ]
    assert call.dropped == ()
