"""The same promises for every adapter of the registry. A new provider is picked up by its line there."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from providers.fields import FIELDS, Feature, Support, features_of
from providers.registry import ADAPTERS, adapter_for
from providers.wire import FailureKind, ProviderFailure
from tests.providers.clean_dialect import Assembled, assert_clean_chunk, assert_clean_reply
from tests.providers.golden_samples import (
    GOLDEN,
    Heard,
    all_streams,
    header_list,
    request,
    sample,
    stream,
    stream_names,
    target_of,
    usage_of,
)

EVERY = sorted(ADAPTERS)
STREAMS = all_streams()


def test_the_registry_and_the_golden_folders_name_the_same_providers() -> None:
    assert {path.name for path in GOLDEN.iterdir() if path.is_dir()} == set(ADAPTERS)
    assert all(adapter_for(name).name == name for name in ADAPTERS)
    with pytest.raises(KeyError, match="groq"):
        adapter_for("grok")


@pytest.mark.parametrize("name", EVERY)
def test_requests_go_out_in_the_providers_form(name: str) -> None:
    adapter = ADAPTERS[name]
    for case in sample(name, "request")["cases"]:
        asked = request(case["canonical"], streams=case["stream"])
        before = copy.deepcopy(case["canonical"])
        call = adapter.build_call(asked, target_of(adapter, case["wire"]["model"]))
        assert json.loads(call.body) == case["wire"]
        assert call.body.startswith(b'{"model":')
        assert sorted(call.dropped) == sorted(case["dropped"])
        assert case["canonical"] == before, "the caller's request was changed"
        assert dict(call.headers)[b"authorization"] == b"Bearer key-1"


@pytest.mark.parametrize("name", EVERY)
def test_replies_come_in_as_the_clean_dialect(name: str) -> None:
    case = sample(name, "reply")
    expect = case["expect"]
    reply = ADAPTERS[name].parse_reply(request(), json.dumps(case["wire"]).encode())
    clean = assert_clean_reply(reply.body)
    message = clean["choices"][0]["message"]
    assert (message["content"] or "") == expect["content"]
    assert message.get("reasoning", "") == expect["reasoning"]
    calls = [[c["function"]["name"], c["function"]["arguments"]] for c in message.get("tool_calls", ())]
    assert calls == expect["tool_calls"]
    assert clean["choices"][0]["finish_reason"] == expect["finish_reason"]
    assert reply.usage == usage_of(expect["usage"])
    assert clean["usage"] == (None if reply.usage is None else reply.usage.as_openai())
    written = sum(len(n) + len(a) for n, a in calls)
    assert reply.text_chars == len(expect["content"]) + len(expect["reasoning"]) + written
    assert reply.reported_model == case["wire"].get("model")
    assert reply.upstream_id == (case["wire"]["id"] or None)


@pytest.mark.parametrize(("name", "which"), STREAMS)
@pytest.mark.parametrize("wants_usage", [True, False])
def test_streams_come_in_as_the_clean_dialect(name: str, which: str, wants_usage: bool) -> None:
    expect = sample(name, "streams")[which]
    heard = Heard(ADAPTERS[name], request(streams=True, wants_usage=wants_usage), stream(name, which))
    assert heard.failure is None
    told = Assembled(heard.deltas, wants_usage=wants_usage)
    assert told.content == expect["content"]
    assert told.reasoning == expect["reasoning"]
    assert told.tool_calls == expect["tool_calls"]
    assert told.finish_reason == expect["finish_reason"]
    assert told.role == "assistant", "the role is said once"
    assert len(told.ids) == 1
    assert all(call["id"] for call in told.calls.values())
    usage = usage_of(expect["usage"])
    assert heard.reader.usage == usage
    assert told.usage == (None if usage is None else usage.as_openai())
    assert heard.reader.finished
    assert heard.reader.skipped_events == 0
    assert heard.reader.finish() == [], "the end is told once"
    for _, arguments in told.tool_calls:
        json.loads(arguments)


@pytest.mark.parametrize(("name", "which"), STREAMS)
def test_the_cut_of_the_reads_makes_no_difference(name: str, which: str) -> None:
    asked, body = request(streams=True), stream(name, which)
    whole = Heard(ADAPTERS[name], asked, body)
    for size in (1, 7, 64):
        pieces = Heard(ADAPTERS[name], asked, body, size)
        assert [_without_made_up(d.data) for d in pieces.deltas] == [_without_made_up(d.data) for d in whole.deltas]
        assert [(d.has_content, d.has_finish, d.text_chars) for d in pieces.deltas] == [
            (d.has_content, d.has_finish, d.text_chars) for d in whole.deltas
        ]
        assert pieces.reader.usage == whole.reader.usage


def _without_made_up(data: bytes) -> Any:
    """A chunk without what is made anew each time: an id, a time."""
    chunk = json.loads(data)
    return {key: value for key, value in chunk.items() if key not in ("id", "created")}


@pytest.mark.parametrize(("name", "which"), STREAMS)
@pytest.mark.parametrize("ending", [b"\r\n", b"\r"])
def test_line_endings_make_no_difference(name: str, which: str, ending: bytes) -> None:
    asked, body = request(streams=True), stream(name, which)
    expected = [_without_made_up(d.data) for d in Heard(ADAPTERS[name], asked, body).deltas]
    for size in (0, 1, 50):
        heard = Heard(ADAPTERS[name], asked, b"\xef\xbb\xbf" + body.replace(b"\n", ending), size)
        assert [_without_made_up(d.data) for d in heard.deltas] == expected


@pytest.mark.parametrize(("name", "which"), STREAMS)
def test_a_cut_stream_is_a_failure_and_never_a_success(name: str, which: str) -> None:
    events = [part + b"\n\n" for part in stream(name, which).split(b"\n\n") if part]
    asked = request(streams=True)
    for kept in range(len(events)):
        heard = Heard(ADAPTERS[name], asked, b"".join(events[:kept]))
        if not any(delta.has_finish for delta in heard.deltas):
            assert heard.failure is not None, f"{kept} events were taken for a whole answer"
            assert heard.failure.kind is FailureKind.TRUNCATED
            assert heard.failure.text_chars == sum(delta.text_chars for delta in heard.deltas)
        # Half an event is no more than none.
        half = Heard(ADAPTERS[name], asked, b"".join(events[:kept]) + events[kept][: len(events[kept]) // 2])
        assert (half.failure is None) == (heard.failure is None)


@pytest.mark.parametrize("name", EVERY)
def test_a_word_of_the_end_alone_is_no_answer(name: str) -> None:
    heard = Heard(ADAPTERS[name], request(streams=True), b"data: [DONE]\n\n")
    assert heard.failure is not None
    assert heard.failure.kind is FailureKind.TRUNCATED
    assert Heard(ADAPTERS[name], request(streams=True), b"").failure is not None


@pytest.mark.parametrize("name", EVERY)
def test_an_error_inside_a_stream_comes_after_what_was_said(name: str) -> None:
    expect = sample(name, "streams")["broken"]
    for size in (0, 1):
        heard = Heard(ADAPTERS[name], request(streams=True), stream(name, "broken"), size)
        assert heard.failure is not None
        assert heard.reader.failure is not None
        assert heard.failure.kind.value == heard.reader.failure.kind.value == expect["kind"]
        assert heard.failure.text_chars == len(expect["content"])
        assert not any(delta.usage_only for delta in heard.deltas)
        said = [assert_clean_chunk(d, wants_usage=False)["choices"][0]["delta"] for d in heard.deltas]
        assert "".join(part.get("content") or "" for part in said) == expect["content"]
        assert heard.reader.feed(stream(name, "text")) == [], "nothing is read after a failure"


@pytest.mark.parametrize("name", EVERY)
def test_a_first_event_that_is_an_error_is_known_before_any_delta(name: str) -> None:
    reader = ADAPTERS[name].open_stream(request(streams=True))
    body = b'data: {"error":{"message":"Input validation error: bad","http_status_code":422}}\n\ndata: [DONE]\n\n'
    assert reader.feed(body) == []
    assert reader.failure is not None
    assert reader.failure.kind is FailureKind.BAD_REQUEST
    with pytest.raises(ProviderFailure, match="Input validation error"):
        reader.finish()


@pytest.mark.parametrize("name", EVERY)
def test_broken_events_are_passed_over_and_counted(name: str) -> None:
    body = b'data: {"id":\n\ndata: \xff\xfe\n\n: keep-alive\n\n' + stream(name, "text")
    heard = Heard(ADAPTERS[name], request(streams=True), body)
    assert heard.failure is None
    assert heard.reader.skipped_events == 2
    assert Assembled(heard.deltas).content == sample(name, "streams")["text"]["content"]


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_read_after_the_end(name: str) -> None:
    body = stream(name, "text")
    if b"[DONE]" not in body:
        body += b"data: [DONE]\n\n"
    heard = Heard(ADAPTERS[name], request(streams=True), body + body)
    assert Assembled(heard.deltas).content == sample(name, "streams")["text"]["content"]
    assert heard.reader.done


@pytest.mark.parametrize("name", EVERY)
def test_failures_are_understood(name: str) -> None:
    for case in sample(name, "failures"):
        failure = ADAPTERS[name].parse_failure(case["status"], header_list(case["headers"]), case["body"].encode())
        assert failure.kind.value == case["kind"], case
        assert failure.status == case["status"]
        assert failure.retry_after_s == case["retry_after_s"], case
        assert failure.message
        assert len(failure.message) <= 500
        assert "message" not in case or failure.message == case["message"]
        assert not any(secret in failure.message for secret in ("sk-abc", "example.com", "<html"))


@pytest.mark.parametrize("name", EVERY)
def test_what_is_left_is_read_from_the_headers(name: str) -> None:
    case = sample(name, "limits")
    limits = ADAPTERS[name].rate_limits(header_list(case["headers"]))
    if case["expect"] is None:
        assert limits is None
        return
    assert limits is not None
    told = [limits.requests_limit, limits.requests_remaining, limits.requests_reset_s]
    told += [limits.tokens_limit, limits.tokens_remaining, limits.tokens_reset_s]
    assert told == pytest.approx(case["expect"])


BROKEN_REPLIES: list[tuple[bytes, FailureKind, int]] = [
    (b"", FailureKind.UNREADABLE, 0),
    (b"<html><body>hi</body></html>", FailureKind.UNREADABLE, 0),
    (b"{}", FailureKind.UNREADABLE, 0),
    (b"[1]", FailureKind.UNREADABLE, 0),
    (b'{"choices":[]}', FailureKind.UNREADABLE, 0),
    (b'{"choices":[{"index":0}]}', FailureKind.UNREADABLE, 0),
    (b'{"choices":[{"message":{"content": "a\\n\\u00e9b \\"c', FailureKind.UNREADABLE, 7),
    (b'{"error":{"message":"boom"}}', FailureKind.ERROR_EVENT, 0),
    (b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}', FailureKind.RATE_LIMITED, 0),
    (b'{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}', FailureKind.UNREADABLE, 0),
    (b"[" * 100_000, FailureKind.UNREADABLE, 0),
]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("body", "kind", "text_chars"), BROKEN_REPLIES)
def test_a_200_that_is_no_answer_is_a_failure(name: str, body: bytes, kind: FailureKind, text_chars: int) -> None:
    with pytest.raises(ProviderFailure) as caught:
        ADAPTERS[name].parse_reply(request(), body)
    assert caught.value.kind in ({kind, FailureKind.ERROR_EVENT} if b"finish_reason" in body else {kind})
    assert caught.value.text_chars == text_chars


BAD_COUNTS: list[Any] = [None, "5", 16.0, -1, True, 1 << 40, [], {}]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("bad", BAD_COUNTS, ids=repr)
def test_what_is_no_count_is_not_reported_and_zero_is(name: str, bad: Any) -> None:
    adapter = ADAPTERS[name]
    wire = sample(name, "reply")["wire"]
    native = "billed_units" in wire["usage"]
    prompt, completion = ("input_tokens", "output_tokens") if native else ("prompt_tokens", "completion_tokens")

    def reply_with(prompt_tokens: Any, completion_tokens: Any) -> Any:
        counts = {prompt: prompt_tokens, completion: completion_tokens}
        usage = {"billed_units": counts} if native else counts
        return adapter.parse_reply(request(), json.dumps({**wire, "usage": usage}).encode()).usage

    assert reply_with(bad, 1) is None
    assert reply_with(1, bad) is None
    zero = reply_with(0, 0)
    assert zero is not None
    assert zero.total_tokens == 0


ALONE: dict[str, Any] = {
    "frequency_penalty": 0.5,
    "logit_bias": {"1": 5},
    "logprobs": True,
    "max_completion_tokens": 5,
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "Hi"}],
    "n": 2,
    "parallel_tool_calls": False,
    "presence_penalty": 0.5,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "seed": 3,
    "stop": ["x"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "tool_choice": "required",
    "tool_prompt": "Use these:",
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "top_logprobs": 2,
    "top_p": 0.5,
    "user": "u",
}
TOGETHER = {"top_logprobs": ("logprobs",), "tool_choice": ("tools",), "stream_options": ("stream",)}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("field", sorted(FIELDS))
def test_no_field_is_lost_in_silence(name: str, field: str) -> None:
    adapter = ADAPTERS[name]
    support = adapter.support[field]
    base: dict[str, Any] = {"messages": ALONE["messages"]}
    for needed in TOGETHER.get(field, ()):
        base[needed] = ALONE[needed]
    streams = field in ("stream", "stream_options")

    def wire(canonical: dict[str, Any], streamed: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
        call = adapter.build_call(request(canonical, streams=streamed), target_of(adapter))
        return json.loads(call.body), call.dropped

    without, _ = wire(base if field != "messages" else {"messages": []}, False)
    body, dropped = wire({**base, field: ALONE[field]}, streams)
    if support is Support.FORWARDED:
        assert body[field] == ALONE[field] or field == "stream_options"
        assert field not in dropped
    elif support is Support.DROPPED:
        assert field not in body
        assert field in dropped
        assert not FIELDS[field].changes_answer
    elif support is Support.RENAMED:
        assert body != without
    else:
        assert FIELDS[field].changes_answer


@pytest.mark.parametrize("name", EVERY)
def test_an_unknown_field_is_forwarded_or_named(name: str) -> None:
    asked = request({"messages": ALONE["messages"], "x_new": {"a": 1}, "x_null": None})
    call = ADAPTERS[name].build_call(asked, target_of(ADAPTERS[name]))
    assert (json.loads(call.body).get("x_new") == {"a": 1}) != ("x_new" in call.dropped)


@pytest.mark.parametrize("name", EVERY)
def test_what_cannot_be_done_is_refused_by_feature(name: str) -> None:
    adapter = ADAPTERS[name]
    assert set(adapter.support) == set(FIELDS)
    assert all(isinstance(feature, Feature) and reason for feature, reason in adapter.refuses.items())
    for field, support in adapter.support.items():
        if support is not Support.REFUSED:
            continue
        assert FIELDS[field].changes_answer, f"{field} is cosmetic: drop it"
        body = {"messages": ALONE["messages"], field: ALONE[field]}
        for needed in TOGETHER.get(field, ()):
            body[needed] = ALONE[needed]
        assert features_of(body, images=0) & set(adapter.refuses), f"nothing would keep {field} away from {name}"


@pytest.mark.parametrize("name", EVERY)
def test_values_that_mean_nothing_do_no_harm(name: str) -> None:
    idle = {"n": 1, "logprobs": False, "stop": [], "tools": [], "tool_choice": "auto", "tool_prompt": ""}
    idle["response_format"] = {"type": "text"}
    adapter = ADAPTERS[name]
    call = adapter.build_call(request({"messages": ALONE["messages"], **idle}), target_of(adapter))
    assert call.dropped == ()
    left = set(json.loads(call.body)) - {"model", "messages"}
    assert left <= {field for field in idle if adapter.support[field] is Support.FORWARDED}
    assert not left & {"stop", "tools", "tool_choice", "response_format", "tool_prompt"}


@pytest.mark.parametrize("name", EVERY)
def test_a_base_url_moves_the_provider_and_keeps_its_path(name: str) -> None:
    adapter = ADAPTERS[name]
    own = target_of(adapter)
    assert own.url.startswith(adapter.base_url)
    moved = adapter.target(
        provider_model="org/model", hub_model="org/model", base_url="http://127.0.0.1:9001/x/v1/", api_key=None
    )
    assert moved.url == "http://127.0.0.1:9001/x/v1" + own.url.removeprefix(adapter.base_url)
    assert b"authorization" not in dict(moved.headers)
    assert dict(moved.headers)[b"accept-encoding"] == b"identity"
    bare = adapter.target(provider_model="org/model", hub_model="org/model", base_url="http://[::1]:9001", api_key="k")
    assert bare.url.removeprefix("http://[::1]:9001") == "/" + own.url.split("/", 3)[3]
    assert "key-1" not in repr(own)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("base_url", "key"),
    [
        ("ftp://host/v1", None),
        ("//host/v1", None),
        ("http://me:secret@host/v1", None),
        ("http://host/v1?x=1", None),
        ("http://host/v1#x", None),
        ("http://ho st/v1", None),
        ("http:///v1", None),
        ("http://host/v1", "key\r\nx-evil: 1"),
    ],
)
def test_a_target_that_is_not_safe_is_refused(name: str, base_url: str, key: str | None) -> None:
    with pytest.raises(ValueError):
        ADAPTERS[name].target(provider_model="org/model", hub_model="org/model", base_url=base_url, api_key=key)


@pytest.mark.parametrize("name", EVERY)
def test_every_provider_shows_what_it_can(name: str) -> None:
    assert {"text", "reasoning"} <= set(stream_names(name))
    assert ("tools" in stream_names(name)) == (Feature.TOOLS not in ADAPTERS[name].refuses)
