"""Providers that speak oddly but speak: their callers see one clean dialect and none of the provider's headers."""

from __future__ import annotations

import pytest

from tests.journeys.caller import ask, listen
from tests.journeys.conftest import Town
from tests.journeys.gateway_process import provider_key

TOWN_TIMEOUTS = {"firstToken": 5, "betweenTokens": 5}
"""Byte by byte takes its time on a busy machine."""
ODD_STREAMS = [
    "sse-crlf",
    "sse-cr",
    "sse-bom",
    "sse-comments",
    "sse-no-space",
    "sse-multi-data",
    "sse-events",
    "sse-one-write",
    "gzip-stream",
    "early-hints",
    "malformed-sse",
    "unknown-fields",
]
ALLOWED = {
    "content-type",
    "content-length",
    "transfer-encoding",
    "date",
    "cache-control",
    "x-accel-buffering",
    "inference-id",
    "x-request-id",
    "x-inference-provider",
    "x-gateway-attempts",
}


@pytest.mark.parametrize("fault", ODD_STREAMS)
def test_an_odd_stream_comes_out_clean(town: Town, fault: str) -> None:
    town.first.next(fault)

    heard = listen(town.gateway, stream_options={"include_usage": True})

    assert heard.is_done
    assert heard.error is None
    assert len(heard.text.split()) == 16
    assert heard.response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert b"\r" not in heard.raw
    assert b"keep-alive" not in heard.raw
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.completion_tokens, entry.estimated) == (16, False)


@pytest.mark.parametrize("fault", ["sse-byte-by-byte", "sse-split-utf8+unicode", "unicode"])
def test_every_cut_of_the_bytes_gives_the_same_text(town: Town, fault: str) -> None:
    town.first.next("unicode+sse-one-write", f"{fault}+unicode")

    whole, cut = (listen(town.gateway, max_tokens=6) for _ in range(2))

    assert cut.is_done
    assert cut.text == whole.text
    assert "日本語" in cut.text


def test_an_escape_that_makes_a_line_of_its_own_for_some_parsers_stays_inside(town: Town) -> None:
    town.first.next("unicode")

    heard = listen(town.gateway, max_tokens=6)

    assert "\u2028x" in heard.text
    assert len(heard.events) >= 6


def test_tool_calls_come_through(town: Town) -> None:
    town.first.next("tool-calls", "tool-calls")

    answer = ask(town.gateway)
    heard = listen(town.gateway)

    (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert heard.is_done
    assert [choice["finish_reason"] for event in heard.events for choice in event["choices"]][-1] == "tool_calls"
    assert heard.events[1]["choices"][0]["delta"]["tool_calls"][0]["id"] == "call_1"


@pytest.mark.parametrize("stream", [False, True])
def test_a_line_of_megabytes_comes_through(town: Town, stream: bool) -> None:
    town.first.next("huge-line-4")

    answer = ask(town.gateway, stream=stream)

    assert answer.status_code == 200
    assert answer.content.count(b"x" * (1 << 20)) >= 4


@pytest.mark.parametrize("fault", ["gzip", "no-length", "unknown-fields", "many-choices"])
def test_an_odd_plain_answer_is_an_answer(town: Town, fault: str) -> None:
    town.first.next(fault)

    answer = ask(town.gateway)

    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers
    assert len(answer.json()["choices"][0]["message"]["content"].split()) == 16
    assert town.asked == (1, 0, 0)


def test_an_answer_that_unpacks_to_too_much_is_left_to_the_next(town: Town) -> None:
    town.first.next("gzip-bomb")

    answer = ask(town.gateway)

    assert answer.status_code == 200
    assert answer.headers["x-inference-provider"] == "second"


@pytest.mark.parametrize("stream", [False, True])
def test_no_header_of_a_provider_comes_down(town: Town, stream: bool) -> None:
    town.first.next("evil-headers+crlf-model")

    answer = ask(town.gateway, stream=stream)

    assert answer.status_code == 200
    assert set(answer.headers) <= ALLOWED
    assert "up-chatcmpl" not in str(answer.headers)


@pytest.mark.parametrize("fault", ["huge-header", "many-headers"])
def test_a_head_without_measure_is_no_answer(town: Town, fault: str) -> None:
    town.first.next(fault)

    assert ask(town.gateway).headers["x-inference-provider"] == "second"


@pytest.mark.parametrize("fault", ["ok", "500", "401", "400", "error-200"])
@pytest.mark.parametrize("stream", [False, True])
def test_no_key_crosses_the_gateway(town: Town, fault: str, stream: bool) -> None:
    """The caller's key upstream is looked for by the providers themselves, at the end of every test."""
    town.first.next(fault)
    headers = {"cookie": f"a={town.gateway.key()}", "x-api-key": town.gateway.key(), "x-forwarded-for": "10.0.0.1"}

    answer = ask(town.gateway, stream=stream, headers=headers, user=None)

    assert provider_key("first") not in answer.text + str(answer.headers)
    (served,) = town.first.ended(answer.headers["inference-id"])
    assert not {"cookie", "x-api-key", "x-forwarded-for", "forwarded", "via"} & set(served["headers"])
    assert provider_key("first") not in town.gateway.log()
    assert town.gateway.key() not in town.gateway.log()
