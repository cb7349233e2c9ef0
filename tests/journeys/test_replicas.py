"""Three gateways before one provider: what one of them has found out, the others need not find out again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.journeys.caller import body
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of, until
from tests.store.redis_server import RedisServer

OPEN_S = 0.5
BREAKER = {"failures": 5, "percent": 50, "window": 30, "open": OPEN_S}
WORD_S = 0.04
"""A word takes a millisecond or two from one to all; requests that are to be told from one another are this far apart,
which leaves some for a busy machine."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """Three lives of the gateway on one store, and their two providers in the order of the table."""

    gateways: tuple[GatewayProcess, ...]
    first: FaultProvider
    second: FaultProvider

    def ask(self, replica: int) -> str:
        """Who was asked and what came of it, as the caller is told."""
        gateway = self.gateways[replica % 3]
        time.sleep(WORD_S)
        answer = gateway.http.post(
            f"{gateway.url}/v1/chat/completions", json=body(max_tokens=2), headers=self.gateways[0].headers()
        )
        assert answer.status_code == 200
        return answer.headers["x-gateway-attempts"]


@pytest.fixture(scope="module", params=["redis", "sqlite"])
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    folder = tmp_path_factory.mktemp("replicas")
    environ = {"GATEWAY_STATE_DIR": str(folder / "gateway-0" / "state")}
    with ExitStack() as stack:
        if request.param == "redis":
            environ = {"REDIS_URL": stack.enter_context(RedisServer(persist=False)).url}
        first, second = (stack.enter_context(FaultProvider()) for _ in range(2))
        table = table_of(
            {"first": first.base_url, "second": second.base_url}, routing={"breaker": BREAKER, "retryAfterWait": 0}
        )

        def gateway(number: int) -> GatewayProcess:
            own = folder / f"gateway-{number}"
            own.mkdir()
            return stack.enter_context(running(own, table, environ=environ))

        yield Replicas((gateway(0), gateway(1), gateway(2)), first, second)


@pytest.fixture
def replicas(standing: Replicas) -> Replicas:
    """All is well, and every replica knows."""
    standing.first.reset()
    until(lambda: {standing.ask(i) for i in range(3)} == {"first:200"}, "the first provider before everybody")
    standing.first.reset()
    return standing


def test_five_failures_are_enough_for_all_of_them(standing: Replicas) -> None:
    """Before anything else: a breaker that has seen successes wants more failures."""
    standing.first.next(*["500"] * 25)
    begun_s = time.monotonic()

    told = [standing.ask(i) for i in range(25)]

    probes = int((time.monotonic() - begun_s) / OPEN_S)
    assert told[:5] == ["first:500,second:200"] * 5
    # Each of the other two may have begun one before the word of the fifth was there.
    assert standing.first.requests <= BREAKER["failures"] + probes + 2
    assert standing.second.requests == 25


def test_what_is_down_gets_one_probe_from_all_of_them_and_what_is_back_gets_all(replicas: Replicas) -> None:
    replicas.first.next(*["500"] * 1000)
    until(lambda: {replicas.ask(i) for i in range(3)} == {"second:200"}, "the breakers")
    replicas.first.reset()
    replicas.first.next(*["500"] * 1000)
    begun_s = time.monotonic()
    asked = 0
    while time.monotonic() - begun_s < 2.5 * OPEN_S:
        asked += 1
        replicas.ask(asked)
    probes = replicas.first.requests
    assert asked > 12
    assert 1 <= probes <= 4  # after a relapse the wait is two thirds
    told = replicas.gateways[0].http.get(f"{replicas.gateways[0].url}/metrics").text
    assert 'gateway_open_breakers{provider="first",provider_model="chat"} 1.0' in told

    replicas.first.reset()
    begun_s = time.monotonic()
    until(lambda: {replicas.ask(i) for i in range(3)} == {"first:200"}, "the first provider before everybody")
    assert time.monotonic() - begun_s < OPEN_S + 1
    events = [line.get("event") for line in replicas.gateways[0].log_lines() if line.get("provider") == "first"]
    assert "breaker_opened" in events


def test_nobody_is_asked_for_the_sake_of_health(replicas: Replicas) -> None:
    replicas.first.next(*["500"] * 1000)
    until(lambda: {replicas.ask(i) for i in range(3)} == {"second:200"}, "the breakers")
    replicas.first.reset()

    time.sleep(2 * OPEN_S)  # in which nobody has a request

    assert replicas.first.requests == 0
    assert replicas.ask(0).endswith(":200")


def test_nobody_asks_an_account_that_wants_silence(replicas: Replicas) -> None:
    replicas.first.next("429-retry-after-1")
    begun_s = time.monotonic()
    assert replicas.ask(0) == "first:429,second:200"

    asked = 1
    while (answer := replicas.ask(asked)) == "second:200":
        asked += 1

    back_s = time.monotonic()
    assert answer == "first:200"
    assert asked > 8
    assert begun_s + 1 <= back_s < begun_s + 1.3


def test_an_account_near_its_rate_limit_is_spared_by_all_before_it_says_429(replicas: Replicas) -> None:
    replicas.first.next("limit-3", "limit-2")
    assert replicas.ask(0) == "first:200"

    assert [replicas.ask(i) for i in range(1, 7)] == ["second:200"] * 6
    replicas.second.next("500")  # near its limit it is still better than nobody
    assert replicas.ask(0) == "second:500,first:200"
    assert replicas.ask(1) == "second:200"
    until(lambda: replicas.ask(1) == "first:200", "the first provider's limit to be whole")


def test_nobody_asks_who_refused_the_key(replicas: Replicas) -> None:
    replicas.first.next(*["401"] * 10)
    assert replicas.ask(0) == "first:401,second:200"

    until(lambda: all(one.readyz().get("refused_keys") == ["first"] for one in replicas.gateways), "all to know")
    assert [replicas.ask(i) for i in range(1, 10)] == ["second:200"] * 9
    assert replicas.first.requests == 1
    asked = replicas.gateways[0]
    (alert,) = [line for line in asked.log_lines() if line.get("event") == "provider_key_refused"]
    assert (alert["provider"], alert["status"]) == ("first", 401)
    metrics = asked.http.get(f"{asked.url}/metrics").text
    assert 'gateway_provider_key_refusals_total{provider="first"} 1.0' in metrics

    replicas.first.reset()
    for gateway in replicas.gateways:
        gateway.reload()
    assert [replicas.ask(i) for i in range(3)] == ["first:200"] * 3
