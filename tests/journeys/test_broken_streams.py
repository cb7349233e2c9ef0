"""A stream that breaks. Before its first content another provider takes over, and the caller never knows; after it the
break is told once, never called finished, and charged as far as it came."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.journeys.caller import ask, listen, listening
from tests.journeys.conftest import Town
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import TIMEOUTS, GatewayProcess, running, table_of, until

FIRST_S, BETWEEN_S = 0.5, 0.4
TOWN_TIMEOUTS = {"firstToken": FIRST_S, "betweenTokens": BETWEEN_S}
BUSY_S = 2.0
"""How much later than due anything may happen on a machine that has other things to do."""

BREAKS_BEFORE = {
    "cut-after-0-chunks": ("truncated", 0.0),
    "rst-after-0-chunks": ("truncated", 0.0),
    "empty-stream": ("truncated", 0.0),
    "only-done": ("truncated", 0.0),
    "error-in-stream-after-0": ("server_error", 0.0),
    "huge-first-9": ("unreadable", 0.0),
    # None of these is content, and so none stops the clock: no status, no byte, a role, comments and roles, a drip.
    "hang": ("timeout", FIRST_S),
    "hang-after-headers": ("timeout", FIRST_S),
    "hang-after-0-chunks": ("timeout", FIRST_S),
    "chatter": ("timeout", FIRST_S),
    "drip-after-0-chunks": ("timeout", FIRST_S),
}
"""Fault by fault, the failure that is told and how long after the first provider the second is asked."""

BREAKS_AFTER = {
    "cut-after-3-chunks": (3, "truncated", 0.0),
    "rst-after-3-chunks": (3, "truncated", 0.0),
    "cut-mid-event": (3, "truncated", 0.0),
    "no-finish": (16, "truncated", 0.0),
    "no-finish+no-done": (16, "truncated", 0.0),
    "error-in-stream-after-2": (2, "server_error", 0.0),
    "error-event": (2, "overloaded", 0.0),
    "huge-line-9": (1, "unreadable", 0.0),
    "hang-after-3-chunks": (3, "timeout", BETWEEN_S),
    "chatter-after-3-chunks": (3, "timeout", BETWEEN_S),
    "drip-after-3-chunks": (3, "timeout", BETWEEN_S),
}
"""Fault by fault, the words that arrive, the failure in the ledger, and how long it takes to be told."""


@pytest.mark.parametrize("fault", BREAKS_BEFORE)
def test_before_the_first_content_another_provider_takes_over(town: Town, fault: str) -> None:
    town.first.next(fault)
    failure, waited_s = BREAKS_BEFORE[fault]

    heard = listen(town.gateway)

    assert heard.is_done
    assert heard.error is None
    assert len(heard.text.split()) == 16
    assert heard.response.headers["x-gateway-attempts"] == f"first:{failure},second:200"
    assert town.asked == (1, 1, 0)
    later_s = town.second.asked_at_s(heard.inference_id) - town.first.asked_at_s(heard.inference_id)
    assert waited_s - 0.05 < later_s < waited_s + BUSY_S
    broken, served = town.gateway.story(heard.inference_id)
    assert (broken.charge_nano_usd, broken.answered, broken.failure) == (0, False, failure)
    assert (served.charge_nano_usd, served.estimated) == (5 * 1_000 + 16 * 2_000, False)
    if fault == "hang":  # not even a status: nobody knows what it did
        assert (broken.unknown, broken.status, broken.provider_cost_nano_usd) == (True, None, 0)
    elif failure == "timeout":  # it was at work on the prompt
        assert (broken.estimated, broken.unknown, broken.status) == (True, False, 200)
        assert broken.provider_cost_nano_usd == broken.prompt_tokens * 3_000 > 0
    else:
        assert (broken.kind, broken.provider_cost_nano_usd) == ("void", 0)
    told = town.gateway.told(heard.inference_id)
    assert [(one["provider"], one["failure"], one["answered"]) for one in told["attempts"]] == [
        ("first", failure, False),
        ("second", None, True),
    ]
    assert (told["failed"], told["cost_usd"], told["completion_tokens"]) == (False, "0.000037", 16)


@pytest.mark.parametrize("fault", BREAKS_AFTER)
def test_after_it_one_error_event_ends_the_stream(town: Town, fault: str) -> None:
    town.first.next(fault)
    words, failure, waited_s = BREAKS_AFTER[fault]
    begun_s = time.monotonic()

    heard = listen(town.gateway, stream_options={"include_usage": True})

    assert waited_s - 0.05 < time.monotonic() - begun_s < waited_s + BUSY_S
    assert heard.status == 200
    assert heard.error is not None
    assert heard.error["code"] == ("timeout" if failure == "timeout" else "stream_broken")
    assert heard.error["type"] == "upstream_error"
    assert "first" in heard.error["message"]
    assert b"[DONE]" not in heard.raw
    assert heard.usage is None
    assert all(choice["finish_reason"] is None for event in heard.events[:-1] for choice in event["choices"])
    assert len(heard.text.split()) == words
    assert town.asked == (1, 0, 0)
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.estimated, entry.unknown, entry.answered, entry.failed) == (True, False, True, True)
    assert entry.failure == failure
    assert 3 <= entry.prompt_tokens <= 8
    assert words - 2 <= entry.completion_tokens <= words + 3
    cost = entry.prompt_tokens * 3_000 + entry.completion_tokens * 6_000
    assert (entry.charge_nano_usd, entry.provider_cost_nano_usd) == (cost, cost)
    told = town.gateway.told(heard.inference_id)
    (attempt,) = told["attempts"]
    assert (attempt["provider"], attempt["failure"], attempt["answered"]) == ("first", failure, True)
    assert (told["failed"], told["estimated"], told["completion_tokens"]) == (True, True, entry.completion_tokens)


def test_the_error_names_every_attempt(town: Town) -> None:
    town.first.next("503")
    town.second.next("cut-after-3-chunks")

    heard = listen(town.gateway)

    assert heard.error is not None
    told = [(one["provider"], one["status"]) for one in heard.error["attempts"]]
    assert told == [("first", 503), ("second", 200)]
    assert all(one["reason"] for one in heard.error["attempts"])


def test_an_operator_sees_it_where_the_status_says_200(town: Town) -> None:
    counter = 'gateway_streams_broken_total{next="error",outcome="truncated",provider="first"}'
    before = town.gateway.metric(counter)
    town.first.next("cut-after-3-chunks")

    heard = listen(town.gateway)

    lines = town.gateway.log_lines
    line = until(lambda: next((x for x in lines() if x.get("id") == heard.inference_id), None), "its line")
    assert (line["status"], line["error"], line["provider"]) == (200, "stream_broken", "first")
    assert town.gateway.metric(counter) == before + 1


def test_a_silent_provider_is_hung_up_on_when_its_time_is_over(town: Town) -> None:
    town.first.next("hang-after-3-chunks")

    heard = listen(town.gateway)

    (served,) = town.first.ended(heard.inference_id)
    assert served["outcome"] == "client_gone"
    assert BETWEEN_S - 0.1 < served["secs"] < BETWEEN_S + BUSY_S


@pytest.mark.parametrize("fault", ["no-done", "data-after-done", "no-length"])
def test_a_clumsy_goodbye_is_no_break(town: Town, fault: str) -> None:
    town.first.next(fault)

    heard = listen(town.gateway)

    assert heard.is_done
    assert heard.error is None
    assert heard.raw.count(b"[DONE]") == 1
    assert len(heard.text.split()) == 16
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.completion_tokens, entry.estimated, entry.failed) == (16, False, False)


def test_a_stream_that_finished_but_never_says_so_is_a_success(town: Town) -> None:
    town.first.next("cut-before-usage")

    heard = listen(town.gateway)

    assert heard.is_done
    assert heard.error is None
    assert town.asked == (1, 0, 0)
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.estimated, entry.failed) == (True, False)
    assert town.gateway.told(heard.inference_id)["failed"] is False


def test_a_stream_that_finished_and_falls_silent_is_ended_for_it(town: Town) -> None:
    town.first.next("slow-usage-10s")
    begun_s = time.monotonic()

    heard = listen(town.gateway)

    assert 1.9 < time.monotonic() - begun_s < 2 + BUSY_S
    assert heard.is_done
    assert heard.error is None
    (served,) = town.first.ended(heard.inference_id)
    assert served["outcome"] == "client_gone"
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.estimated, entry.failed) == (True, False)


def test_a_malformed_event_is_passed_over_and_counted(town: Town) -> None:
    counter = 'gateway_stream_events_skipped_total{provider="first"}'
    before = town.gateway.metric(counter)
    town.first.next("malformed-sse")

    heard = listen(town.gateway)

    assert heard.is_done
    assert len(heard.text.split()) == 16
    assert town.asked == (1, 0, 0)
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.completion_tokens, entry.estimated, entry.failed) == (16, False, False)
    assert town.gateway.metric(counter) == before + 1


@dataclass(frozen=True, slots=True)
class Paced:
    """A gateway whose first provider has time-outs of its own; the second has the usual ones."""

    gateway: GatewayProcess
    first: FaultProvider
    second: FaultProvider


OWN = {"connect": 0.3, "firstToken": 2, "betweenTokens": 0.4, "total": 2.4}


@contextmanager
def deaf() -> Iterator[str]:
    """The base URL of a provider that takes no connection: its queue is full, and nobody empties it."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.fixture(scope="module")
def standing_pace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paced]:
    with FaultProvider() as first, FaultProvider() as second, deaf() as deaf_url:
        urls = {"first": first.base_url, "second": second.base_url, "deaf": deaf_url}
        models: dict[str, dict[str, dict[str, object]]] = {
            "acme/chat": {"first": {}, "second": {}},
            "acme/deaf": {"deaf": {}, "second": {}},
        }
        table = json.loads(table_of(urls, models=models))
        table["providers"]["first"]["timeouts"] = table["providers"]["deaf"]["timeouts"] = OWN
        with running(tmp_path_factory.mktemp("paced"), json.dumps(table)) as gateway:
            yield Paced(gateway, first, second)


@pytest.fixture
def paced(standing_pace: Paced) -> Paced:
    standing_pace.first.reset()
    standing_pace.second.reset()
    return standing_pace


def test_a_slow_first_content_comes_from_the_next_in_time(paced: Paced) -> None:
    paced.first.next("slow-ttft-20s")
    begun_s = time.monotonic()

    with listening(paced.gateway) as (response, chunks):
        seen = next(chunks)
        waited_s = time.monotonic() - begun_s
        seen += b"".join(chunks)

    assert OWN["firstToken"] - 0.05 < waited_s < 3
    assert seen.endswith(b"data: [DONE]\n\n")
    assert response.headers["x-gateway-attempts"] == "first:timeout,second:200"
    assert (paced.first.requests, paced.second.requests) == (1, 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_takes_no_connection_is_left_in_time(paced: Paced, stream: bool) -> None:
    begun_s = time.monotonic()

    answer = ask(paced.gateway, model="acme/deaf", stream=stream)

    assert OWN["connect"] - 0.05 < time.monotonic() - begun_s < OWN["connect"] + BUSY_S
    assert answer.headers["x-gateway-attempts"] == "deaf:connect,second:200"
    unheard, _ = paced.gateway.story(answer.headers["inference-id"])
    assert (unheard.kind, unheard.failure, unheard.provider_cost_nano_usd) == ("void", "connect", 0)


def test_the_time_between_contents_is_the_providers_own(paced: Paced) -> None:
    paced.first.next("hang-after-3-chunks")
    begun_s = time.monotonic()

    heard = listen(paced.gateway)

    assert heard.error is not None
    assert heard.error["code"] == "timeout"
    assert OWN["betweenTokens"] - 0.05 < time.monotonic() - begun_s < TIMEOUTS["betweenTokens"]


def test_a_stream_that_never_pauses_ends_with_the_providers_total(paced: Paced) -> None:
    paced.first.next("endless+gap-50ms")
    begun_s = time.monotonic()

    heard = listen(paced.gateway)

    assert OWN["total"] - 0.05 < time.monotonic() - begun_s < OWN["total"] + BUSY_S
    assert heard.error is not None
    assert heard.error["code"] == "timeout"
    assert len(heard.text.split()) > 30
    (entry,) = paced.gateway.story(heard.inference_id)
    assert (entry.answered, entry.estimated, entry.failure) == (True, True, "timeout")


def test_a_plain_answer_that_stops_half_way_comes_from_the_next(paced: Paced) -> None:
    """It waits for `total` until an answer begins, and then no longer than `betweenTokens`."""
    paced.first.next("hang-in-body")

    answer = ask(paced.gateway)

    assert answer.headers["x-gateway-attempts"] == "first:timeout,second:200"
    begun_s, asked_s = (one.asked_at_s(answer.headers["inference-id"]) for one in (paced.first, paced.second))
    assert OWN["betweenTokens"] - 0.05 < asked_s - begun_s < OWN["total"] - 1
    broken, _ = paced.gateway.story(answer.headers["inference-id"])
    assert (broken.charge_nano_usd, broken.estimated) == (0, True)
    assert broken.provider_cost_nano_usd is not None
    assert broken.provider_cost_nano_usd > broken.prompt_tokens * 1_000


def test_a_stream_that_flows_lets_others_probe(tmp_path: Path) -> None:
    """The breaker of a provider that is well again: whoever waits for a stream of minutes to end waits for nothing."""
    breaker = {"failures": 1, "percent": 1, "window": 30, "open": 0.2}
    with FaultProvider() as first, FaultProvider() as second:
        table = table_of({"first": first.base_url, "second": second.base_url}, routing={"breaker": breaker})
        with running(tmp_path, table) as gateway:
            first.next("500", "gap-100ms")
            assert ask(gateway).headers["x-inference-provider"] == "second"
            time.sleep(breaker["open"])
            with listening(gateway, max_tokens=100) as (probe, chunks):
                assert probe.headers["x-inference-provider"] == "first"
                assert b"content" in next(chunks)

                assert ask(gateway).headers["x-inference-provider"] == "first"
