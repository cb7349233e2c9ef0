"""What a failing provider costs the caller: another provider's answer, or one clear error, and nothing twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.caller import ask
from tests.journeys.conftest import Town
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, provider_key, running, table_of

BREAKER = {"failures": 5, "percent": 50, "window": 30, "open": 15}


@pytest.mark.parametrize("stream", [False, True])
def test_three_tries_in_all_and_then_all_of_them_are_named(town: Town, stream: bool) -> None:
    for provider in town.providers:
        provider.next("500", "500")

    answer = ask(town.gateway, stream=stream)

    assert answer.status_code == 502
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("upstream_error", "all_providers_failed")
    assert [(a["provider"], a["status"]) for a in error["attempts"]] == [
        ("first", 500),
        ("second", 500),
        ("third", 500),
    ]
    assert all(attempt["reason"] for attempt in error["attempts"])
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-error-message"]
    assert answer.headers["x-gateway-attempts"] == "first:500,second:500,third:500"
    for name in ("first", "second", "third"):
        assert provider_key(name) not in answer.text
    assert "127.0.0.1" not in answer.text
    assert sum(town.asked) == 3
    story = town.gateway.story(answer.headers["inference-id"])
    assert [(entry.status, entry.failure, entry.charge_nano_usd) for entry in story] == [(500, "server_error", 0)] * 3
    assert all(entry.failed for entry in story if entry.last)


def test_a_failure_is_tried_nowhere_else_without_fallbacks(town: Town) -> None:
    town.first.next("503")

    answer = ask(town.gateway, provider={"allow_fallbacks": False})

    assert answer.status_code == 502
    assert town.asked == (1, 0, 0)


def test_the_last_one_timing_out_is_a_504(town: Town) -> None:
    for provider in town.providers:
        provider.next("hang")

    answer = ask(town.gateway, stream=True)

    assert answer.status_code == 504
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("upstream_error", "timeout")
    assert [a["provider"] for a in error["attempts"]] == ["first", "second", "third"]
    assert answer.headers["x-should-retry"] == "false"
    for entry in town.gateway.story(answer.headers["inference-id"]):
        assert (entry.unknown, entry.charge_nano_usd) == (True, 0)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, FaultProvider]]:
    """One provider twice: each may take 0.6 s for a whole answer, and all attempts together 1 s."""
    with FaultProvider() as provider:
        table = table_of(
            {"first": provider.base_url, "second": provider.base_url, "third": provider.base_url},
            timeouts={"firstToken": 0.6, "total": 0.6},
            routing={"deadline": 1},
        )
        with running(tmp_path_factory.mktemp("impatient"), table) as gateway:
            yield gateway, provider


def test_a_plain_answer_that_takes_too_long_comes_from_the_next(
    impatient: tuple[GatewayProcess, FaultProvider],
) -> None:
    gateway, provider = impatient
    provider.next("hang-after-headers")

    answer = ask(gateway)

    assert answer.headers["x-gateway-attempts"] == "first:timeout,second:200"
    late, served = gateway.story(answer.headers["inference-id"])
    assert (late.charge_nano_usd, late.estimated) == (0, True)
    assert late.provider_cost_nano_usd is not None
    assert 0 < late.provider_cost_nano_usd < 10_000  # the prompt, as far as it can be told
    assert served.answered


@pytest.mark.parametrize("stream", [False, True])
def test_one_deadline_holds_for_all_attempts(impatient: tuple[GatewayProcess, FaultProvider], stream: bool) -> None:
    gateway, provider = impatient
    provider.next("hang", "hang", "hang")
    begun_s = time.monotonic()

    answer = ask(gateway, stream=stream)

    assert 0.9 < time.monotonic() - begun_s < 1.5
    assert answer.status_code == 504
    assert [a["provider"] for a in answer.json()["error"]["attempts"]] == ["first", "second"]


def test_a_provider_that_keeps_failing_is_left_alone(tmp_path: Path) -> None:
    with FaultProvider() as first, FaultProvider() as second:
        table = table_of({"first": first.base_url, "second": second.base_url}, routing={"breaker": BREAKER})
        first.next(*["500"] * 100)
        with running(tmp_path, table) as gateway:
            answers = [ask(gateway, max_tokens=2) for _ in range(30)]

        assert {answer.status_code for answer in answers} == {200}
        assert first.requests == BREAKER["failures"]
        assert second.requests == 30
        assert answers[-1].headers["x-gateway-attempts"] == "second:200"
