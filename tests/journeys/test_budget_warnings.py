"""A budget is nearly spent: whoever wants to know is told once, whatever happens to workers and receivers."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from tests.journeys.caller import ask
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import ADMIN_KEY, GatewayProcess, running, table_of, until
from tests.journeys.webhook_receiver import Posted, WebhookReceiver

SECRET = "whsec-of-the-journeys-0123456789"
COST_NANO_USD = 5 * 1_000 + 16 * 2_000
"""Of one answer of the provider, at the table's price."""


@pytest.fixture(scope="module")
def provider() -> Iterator[FaultProvider]:
    with FaultProvider() as provider:
        yield provider


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def usd(nano_usd: int) -> str:
    return f"0.{nano_usd:09d}"


def watched_team(gateway: GatewayProcess, receiver: WebhookReceiver, answers: int, **budget: object) -> None:
    """A team whose soft budget is spent after so many answers."""
    gateway.key(
        budget={"usd": usd(answers * COST_NANO_USD), "period": "total", "enforce": "soft", **budget},
        webhook={"url": receiver.url, "secret": SECRET},
    )


def is_signed(posted: Posted, secret: str) -> bool:
    """As docs/budgets.md tells receivers to look."""
    parts = dict(part.split("=", 1) for part in posted.headers["x-gateway-signature"].split(","))
    expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + posted.body, sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"])


def percents(posted: list[Posted]) -> list[int]:
    return sorted(one.event["percent"] for one in posted)


def metric(gateway: GatewayProcess, name: str) -> float:
    text = gateway.http.get(f"{gateway.url}/metrics").text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def test_three_workers_tell_each_threshold_once(
    tmp_path: Path, provider: FaultProvider, receiver: WebhookReceiver
) -> None:
    with running(tmp_path, table_of({"only": provider.base_url}), workers=3) as gateway:
        watched_team(gateway, receiver, 10)
        headers = gateway.headers()

        def one(_: int) -> int:
            with httpx.Client(verify=False) as client:  # a connection of its own, so that every worker gets some
                body = {"model": "acme/chat", "messages": [{"role": "user", "content": "Tell me of the sea"}]}
                return client.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers).status_code

        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(one, range(24))) == {200}
        until(lambda: metric(gateway, 'gateway_webhooks_total{outcome="delivered"}') == 2, "both warnings")

        assert percents(receiver.posted) == [80, 100]
        first = min(receiver.posted, key=lambda posted: posted.event["percent"])
        assert all(is_signed(posted, SECRET) for posted in receiver.posted)
        assert not is_signed(first, SECRET + "x")
        assert {name: first.event[name] for name in ("type", "team", "key", "period", "window", "budget_usd")} == {
            "type": "budget.threshold", "team": "search", "key": None, "period": "total", "window": None,
            "budget_usd": usd(10 * COST_NANO_USD).rstrip("0"),
        }  # fmt: skip
        assert len({posted.event["id"] for posted in receiver.posted}) == 2
        assert metric(gateway, "gateway_budget_warnings_total") == 2
        audit = gateway.http.get(
            f"{gateway.url}/admin/v1/audit", headers={"authorization": f"Bearer {ADMIN_KEY}"}
        ).json()["data"]
        told = [act for act in audit if act["act"] == "budget.threshold"]
        assert sorted(act["after"]["percent"] for act in told) == [80, 100]
        assert {(act["actor"], act["subject"]) for act in told} == {("gateway", "search")}
        assert SECRET not in gateway.log()


def test_a_receiver_that_is_down_gets_it_when_it_is_up(
    tmp_path: Path, provider: FaultProvider, receiver: WebhookReceiver
) -> None:
    receiver.status = 302
    with running(tmp_path, table_of({"only": provider.base_url})) as gateway:
        watched_team(gateway, receiver, 1, warn_at=[50])
        assert ask(gateway).status_code == 200
        until(lambda: len(receiver.posted) >= 2, "a second try")
        assert gateway.readyz()["untold_budget_warnings"] == 1
        assert metric(gateway, 'gateway_webhooks_total{outcome="failed"}') >= 1
        receiver.status = 200
        (taken,) = until(lambda: receiver.taken, "the warning")
        until(lambda: "untold_budget_warnings" not in gateway.readyz(), "nothing more to tell")

    assert len({posted.event["id"] for posted in receiver.posted}) == 1
    assert {posted.path for posted in receiver.posted} == {"/budgets"}  # no redirect is followed
    assert is_signed(taken, SECRET)


def test_a_worker_that_was_killed_before_leaves_it_to_the_next_one(
    tmp_path: Path, provider: FaultProvider, receiver: WebhookReceiver
) -> None:
    receiver.status = 500
    with running(tmp_path, table_of({"only": provider.base_url})) as gateway:
        watched_team(gateway, receiver, 1, warn_at=[50])
        assert ask(gateway).status_code == 200
        until(lambda: receiver.posted, "a first try")
        gateway.kill()
        assert receiver.taken == []
        receiver.status = 200
        gateway.start()
        until(lambda: receiver.taken, "the warning")
        until(lambda: "untold_budget_warnings" not in gateway.readyz(), "nothing more to tell")
        gateway.stop()
        gateway.start()  # and what was told is not told by who adopts that
        assert ask(gateway).status_code == 200

    assert len({posted.event["id"] for posted in receiver.posted}) == 1
    assert len(receiver.taken) == 1
    assert all(is_signed(posted, SECRET) for posted in receiver.posted)
