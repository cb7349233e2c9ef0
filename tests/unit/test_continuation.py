"""What a broken stream may be gone on from, and how the caller hears one answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.continuation import BYTES_MAX, Continuation, can_go_on, may_go_on
from gateway.exchange import LiveStream
from providers.wire import ChatRequest, Delta, Usage, decode_json, encode_json
from tests.unit.catalogs import MODEL, offer


async def nobody(request_of: object) -> LiveStream:
    raise AssertionError("not asked for here")


def request(**fields: Any) -> ChatRequest:
    return ChatRequest(MODEL, {"messages": [{"role": "user", "content": "Go on"}], **fields}, stream=True)


def continuation(**fields: Any) -> Continuation:
    return Continuation(request(**fields), nobody, 0.0)


def chunk(
    content: str | None, *, of: str = "one", finish: str | None = None, logprobs: object = None, **delta: Any
) -> Delta:
    said = delta if content is None else {"content": content, **delta}
    choice = {"index": 0, "delta": said, "logprobs": logprobs, "finish_reason": finish}
    body = {"id": of, "object": "chat.completion.chunk", "created": 1, "model": f"model-{of}", "choices": [choice]}
    return Delta(encode_json(body), bool(content), finish is not None, text_chars=len(content or ""))


def usage_chunk(usage: Usage, *, of: str) -> Delta:
    body = {"id": of, "object": "chat.completion.chunk", "created": 1, "model": f"model-{of}", "choices": []}
    return Delta(encode_json({**body, "usage": usage.as_openai()}), usage_only=True)


def text_of(deltas: list[Delta]) -> str:
    chunks = [decode_json(delta.data) for delta in deltas]
    return "".join(choice["delta"].get("content") or "" for one in chunks for choice in one["choices"])


@given(st.lists(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5), min_size=2, max_size=4))
def test_however_often_it_breaks_the_caller_hears_one_answer(parts: list[list[str]]) -> None:
    going, heard = continuation(), []
    for at, words in enumerate(parts):
        if at:
            assert going.text() == "".join(word for part in parts[:at] for word in part)
            assert going.broke(Usage(7, 10))
        said = [chunk("", of=str(at), role="assistant"), *(chunk(word, of=str(at)) for word in words)]
        heard += going.pass_on(said)
    heard += going.pass_on([chunk(None, finish="stop"), usage_chunk(Usage(90, 3), of="last")])
    chunks = [decode_json(delta.data) for delta in heard]
    assert text_of(heard) == "".join(word for part in parts for word in part)
    assert {(one["id"], one["created"], one["model"]) for one in chunks} == {("0", 1, "model-0")}
    assert sum("role" in choice["delta"] for one in chunks for choice in one["choices"]) == 1
    assert chunks[-1]["usage"] == Usage(7, 10 * (len(parts) - 1) + 3).as_openai()


def test_until_it_breaks_everything_passes_as_it_is() -> None:
    said = [chunk("", role="assistant"), chunk("a")]
    assert continuation().pass_on(said) is said


@pytest.mark.parametrize(
    "said",
    [
        chunk(None, tool_calls=[{"index": 0, "id": "c", "type": "function", "function": {"name": "f"}}]),
        chunk(None, reasoning="hm", reasoning_content="hm"),
        chunk("a", refusal="no"),
        chunk("a", finish="stop"),
        chunk("a", logprobs={"content": []}),
    ],
)
def test_only_text_is_gone_on_from(said: Delta) -> None:
    going = continuation()
    going.pass_on([chunk("so far"), said])
    assert going.text() is None


def test_what_is_too_long_to_be_kept_is_not_gone_on_from() -> None:
    going = continuation()
    going.pass_on([chunk("x" * BYTES_MAX)])
    assert going.text() is None


@pytest.mark.parametrize(
    "fields",
    [
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}},
        {"tool_choice": "required"},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    ],
)
def test_some_requests_are_never_gone_on_from(fields: dict[str, Any]) -> None:
    assert may_go_on(request())
    assert may_go_on(request(response_format={"type": "text"}, tools=[{}], tool_choice="auto"))
    assert not may_go_on(request(**fields))
    assert not may_go_on(ChatRequest(MODEL, request().body, choices=2))


def test_table_and_adapter_must_both_know_how() -> None:
    assert can_go_on(offer("vllm", supports={"prefill": True}))
    assert not can_go_on(offer("vllm"))
    assert not can_go_on(offer("groq", adapter="groq", supports={"prefill": True}))


def test_who_goes_on_is_asked_for_the_rest() -> None:
    asked: list[ChatRequest] = []

    async def resume(request_of: Any) -> LiveStream:
        asked.append(request_of(offer("vllm")))
        raise LookupError

    going = Continuation(request(max_tokens=10, seed=1), resume, 0.0)
    going.pass_on([chunk("so far")])
    assert going.broke(Usage(7, 4))
    with pytest.raises(LookupError):
        going.resume("so far").send(None)
    (on,) = asked
    assert on.body == {
        "messages": [{"role": "user", "content": "Go on"}, {"role": "assistant", "content": "so far"}],
        "max_tokens": 6,
        "seed": 1,
        "add_generation_prompt": False,
        "continue_final_message": True,
    }


def test_a_cap_that_is_used_up_leaves_nothing_to_ask_for() -> None:
    going = continuation(max_completion_tokens=4)
    going.pass_on([chunk("so far")])
    assert not going.broke(Usage(7, 4))
