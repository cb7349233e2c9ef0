"""One Idempotency-Key, one answer, one charge: however often it is sent, to whichever worker, whatever dies."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import httpx
import pytest

from tests.journeys.caller import ask, body, listen
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of, until
from tests.journeys.test_leaving import hanging_on
from tests.store.redis_server import RedisServer

TIMES: Final = 1 << 45
INSIST_S: Final = 5.0
NOT_KEPT: Final = "idempotency_answer_not_kept"
PRICE_NANO_USD: Final = 5 * 1_000 + 16 * 2_000
_numbers = count()


@dataclass(frozen=True, slots=True)
class Shop:
    """Two workers before one provider, and their Redis where there is one."""

    gateway: GatewayProcess
    provider: FaultProvider
    redis: RedisServer | None

    def ask(self, key: str, **fields: Any) -> httpx.Response:
        """On a connection of its own, so that any worker may get it."""
        team, path = fields.pop("team", "search"), fields.pop("path", "/v1/chat/completions")
        headers = {**self.gateway.headers(team), "idempotency-key": key, **fields.pop("headers", {})}
        with httpx.Client(verify=False, timeout=20) as client:
            return client.post(self.gateway.url + path, json=body(**fields), headers=headers)

    def charged_nano_usd(self) -> int:
        """By the ledger, for all that was ever asked here."""
        cells = self.gateway.with_store(lambda store: store.usage(from_ms=0, to_ms=TIMES))
        return sum(cell.counters.get("charge_nano_usd", 0) for cell in cells)


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    redis = RedisServer(persist=True).start() if request.param == "redis" else None
    environ = {} if redis is None else {"REDIS_URL": redis.url}
    with FaultProvider() as provider:
        table = table_of({"first": provider.base_url, "second": provider.base_url})
        with running(tmp_path_factory.mktemp("shop"), table, workers=2, environ=environ) as gateway:
            gateway.key()  # before several callers ask for it at once
            yield Shop(gateway, provider, redis)
    if redis is not None:
        redis.stop()


@pytest.fixture
def shop(standing: Shop) -> Shop:
    standing.provider.reset()
    return standing


@pytest.fixture
def key() -> str:
    """One that nobody has sent yet."""
    return f"order-{next(_numbers)}"


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_same_answer_twice_is_asked_for_and_charged_once(shop: Shop, key: str) -> None:
    first = shop.ask(key)
    (entry,) = shop.gateway.story(first.headers["inference-id"])
    charged_before = shop.charged_nano_usd()

    again = [shop.ask(key, headers={"x-request-id": f"again-{n}"}) for n in range(4)]

    assert "idempotent-replayed" not in first.headers
    assert entry.charge_nano_usd == PRICE_NANO_USD
    for n, answer in enumerate(again):
        assert (answer.status_code, answer.content) == (200, first.content)
        assert answer.headers["idempotent-replayed"] == "true"
        assert answer.headers["x-request-id"] == f"again-{n}"
        for name in ("inference-id", "x-inference-provider", "x-gateway-attempts", "content-type"):
            assert answer.headers[name] == first.headers[name]
    assert shop.provider.requests == 1
    assert shop.charged_nano_usd() == charged_before
    assert shop.ask(key).headers["x-request-id"] == first.headers["inference-id"]


def test_of_duplicates_at_once_one_is_served(shop: Shop, key: str) -> None:
    shop.provider.next("slow-ttft-300ms")

    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: shop.ask(key), range(8)))

    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 7}
    for refused in (answer for answer in answers if answer.status_code == 409):
        assert refused.json()["error"]["code"] == "idempotency_in_progress"
        assert refused.headers["retry-after"] == "1"
    (served,) = (answer for answer in answers if answer.status_code == 200)
    assert shop.ask(key).content == served.content
    assert shop.provider.requests == 1


@pytest.mark.parametrize(("faults", "status"), [(["400"], 400), (["500", "500", "500"], 502)])
def test_an_error_is_not_remembered(shop: Shop, key: str, faults: list[str], status: int) -> None:
    shop.provider.next(*faults)

    refused, served = shop.ask(key), shop.ask(key)

    assert (refused.status_code, served.status_code) == (status, 200)
    assert refused.headers["inference-id"] != served.headers["inference-id"]
    assert "idempotent-replayed" not in served.headers
    assert all(entry.charge_nano_usd == 0 for entry in shop.gateway.story(refused.headers["inference-id"]))


def test_another_teams_key_is_another_key(shop: Shop, key: str) -> None:
    ours, theirs = shop.ask(key), shop.ask(key, team="ads")

    assert ours.status_code == theirs.status_code == 200
    assert ours.json()["id"] != theirs.json()["id"]
    assert shop.provider.requests == 2


def test_another_request_needs_another_key(shop: Shop, key: str) -> None:
    first = shop.ask(key)

    other_body = shop.ask(key, temperature=0.5)
    other_route = shop.ask(key, path="/first/v1/chat/completions")

    for answer in (other_body, other_route):
        assert code_of(answer) == (400, "idempotency_mismatch")
        assert answer.json()["error"]["param"] == "Idempotency-Key"
        assert first.headers["inference-id"] in answer.json()["error"]["message"]
    assert shop.provider.requests == 1


def test_a_providers_own_route_keeps_its_answers_too(shop: Shop, key: str) -> None:
    first, again = (shop.ask(key, path="/second/v1/chat/completions") for _ in range(2))

    assert again.content == first.content
    assert again.headers["x-inference-provider"] == "second"
    assert shop.provider.requests == 1


@pytest.mark.parametrize("bad", ["", "x" * 256, "two words", "caf\xe9"])
def test_a_key_that_is_none_is_refused(shop: Shop, bad: str) -> None:
    answer = ask(shop.gateway, headers={"idempotency-key": bad.encode("latin-1")})  # type: ignore[dict-item]

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Idempotency-Key"
    assert "1 to 255 visible ASCII characters" in answer.json()["error"]["message"]
    assert shop.provider.requests == 0


def test_an_answer_too_long_to_be_kept_is_not_charged_twice(shop: Shop, key: str) -> None:
    shop.provider.next("huge-line-1")

    first, again = shop.ask(key), shop.ask(key)

    assert first.status_code == 200
    assert len(first.content) > 1 << 20
    assert code_of(again) == (409, NOT_KEPT)
    assert again.headers["x-should-retry"] == "false"
    assert first.headers["inference-id"] in again.json()["error"]["message"]
    assert shop.provider.requests == 1


def test_a_stream_takes_no_notice_of_the_key(shop: Shop, key: str) -> None:
    heard = [listen(shop.gateway, headers={"idempotency-key": key}) for _ in range(2)]

    assert all(one.is_done for one in heard)
    assert shop.provider.requests == 2
    assert "idempotent-replayed" not in shop.ask(key).headers


def test_limits_are_not_told_again(shop: Shop, key: str) -> None:
    shop.gateway.key("limited", limits={"requests_per_minute": 100})

    first, again = (shop.ask(key, team="limited") for _ in range(2))

    assert first.headers["x-ratelimit-remaining-requests"] == "99"
    assert not [name for name in again.headers if name.startswith("x-ratelimit")]
    assert shop.ask(f"{key}-next", team="limited").headers["x-ratelimit-remaining-requests"] == "98"


def test_who_left_before_the_answer_finds_it(shop: Shop, key: str) -> None:
    shop.provider.next("gap-20ms")
    with hanging_on(shop.gateway, headers={"idempotency-key": key}):
        until(lambda: shop.provider.requests == 1, "the request upstream")

    found = until(lambda: _unless_running(shop.ask(key)), "the answer")

    assert found.headers["idempotent-replayed"] == "true"
    assert shop.provider.requests == 1


def test_a_worker_that_died_leaves_no_key_locked(shop: Shop, key: str) -> None:
    shop.provider.next("hang")
    with hanging_on(shop.gateway, headers={"idempotency-key": key}):
        until(lambda: shop.provider.requests == 1, "the request upstream")
        assert code_of(shop.ask(key)) == (409, "idempotency_in_progress")
        for pid in shop.gateway.worker_pids():
            os.kill(pid, signal.SIGKILL)

    served = until(lambda: _unless_running(_asked(shop, key)), "another worker's answer")

    assert "idempotent-replayed" not in served.headers
    (lost_id, served_id) = shop.provider.inference_ids()
    (lost,) = shop.gateway.story(lost_id)
    assert (lost.unknown, lost.charge_nano_usd) == (True, 0)
    assert served.headers["inference-id"] == served_id
    assert shop.ask(key).content == served.content
    assert shop.provider.requests == 2


def test_each_key_is_charged_once_whoever_dies(shop: Shop, key: str) -> None:
    """Workers are killed while callers insist on an answer, each key from two of them."""
    shop.provider.next(*["slow-ttft-60ms"] * 1000)
    keys = [f"{key}-{n}" for n in range(30)]

    def insist(one: str) -> bytes | None:
        """The answer. None: its worker died in the millisecond in which only the lease can tell that it did."""
        end_s = time.monotonic() + INSIST_S
        while time.monotonic() < end_s:
            answer = _asked(shop, one, headers={"x-gateway-tags": f"order={one}"})
            if answer is not None and answer.status_code == 200:
                return answer.content
        return None

    with ThreadPoolExecutor(6) as callers:
        asking = {one: [callers.submit(insist, one) for _ in range(2)] for one in keys}
        for asked in (10, 20):
            until(lambda asked=asked: shop.provider.requests >= asked, "requests upstream")  # type: ignore[misc]
            os.kill(shop.gateway.worker_pids()[0], signal.SIGKILL)

    heard = {one: {caller.result() for caller in asking[one]} - {None} for one in keys}
    answered = {one for one in keys if heard[one]}
    assert len(answered) >= len(keys) - 2
    assert [one for one in answered if len(heard[one]) > 1] == []
    until(lambda: answered <= {*_paid_for(shop, key)}, "every charge in the ledger")
    assert set(_paid_for(shop, key).values()) == {1}


def _paid_for(shop: Shop, key: str) -> Counter[str]:
    """How many charges there are of each request that began with this key, by its tag."""
    entries = shop.gateway.with_store(lambda store: store.entries(from_ms=0, to_ms=TIMES))
    orders = (entry.tags["order"] for entry in entries if entry.answered and "order" in entry.tags)
    return Counter(order for order in orders if order.startswith(f"{key}-"))


def test_without_the_store_nobody_is_charged_twice(shop: Shop, key: str) -> None:
    if shop.redis is None:
        pytest.skip("a file does not go away")
    first = shop.ask(key)
    assert ask(shop.gateway).status_code == 200  # the worker at the other end of this connection knows the caller now
    shop.provider.next("slow-ttft-500ms")
    with ThreadPoolExecutor(1) as caller:
        late = caller.submit(shop.ask, f"{key}-late")
        until(lambda: shop.provider.requests == 3, "the request upstream")
        shop.redis.kill()
        # Its answer is there and charged, and reaches its caller; it cannot be kept.
        assert late.result().status_code == 200

    refused = [shop.ask(one) for one in (key, f"{key}-late", f"{key}-new")]

    for answer in refused:
        assert code_of(answer) == (502, "ledger_unavailable")
        assert answer.headers["retry-after"] == "1"
    assert ask(shop.gateway).status_code == 200
    assert shop.provider.requests == 4
    shop.redis.start()
    late_again = until(lambda: _unless_away(shop.ask(f"{key}-late")), "the store")
    assert code_of(late_again) == (409, "idempotency_in_progress")
    assert until(lambda: _unless_away(shop.ask(key)), "the store").content == first.content
    assert shop.provider.requests == 4


def _unless_running(answer: httpx.Response | None) -> httpx.Response | None:
    return answer if answer is not None and answer.status_code == 200 else None


def _unless_away(answer: httpx.Response) -> httpx.Response | None:
    """Each worker finds by itself that the store is back."""
    return answer if answer.status_code != 502 else None


def _asked(shop: Shop, key: str, **fields: Any) -> httpx.Response | None:
    """None while no worker takes connections, or one dies with the question."""
    try:
        return shop.ask(key, **fields)
    except httpx.TransportError:
        return None
