"""Whatever befalls Redis: who has no limits notices nothing, a strict budget is refused, the others go on within
bounds; everybody can see it; and when it is over, everything is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest

from tests.chaos.firewall import Firewall
from tests.journeys.caller import ask
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of, until
from tests.journeys.redis_harms import HARMS, Harm, befallen
from tests.store.redis_server import RedisServer

TEAMS: dict[str, dict[str, object]] = {
    "free": {},
    "strict": {"budget": {"usd": "100"}},
    "soft": {"budget": {"usd": "100", "enforce": "soft"}},
    "limited": {"limits": {"concurrency": 2}},
    "denied": {"limits": {"concurrency": 2}, "when_store_down": "deny"},
    "allowed": {"budget": {"usd": "100"}, "when_store_down": "allow"},
    "bounded": {"budget": {"usd": "100"}, "when_store_down": "allow-bounded"},
}
REFUSED = {"strict", "denied"}
QUICK_S = 5.0
"""A time-out of 250 ms, a few times over on a busy machine, and nowhere near a time-out of a caller."""


@dataclass(frozen=True, slots=True)
class Town:
    gateway: GatewayProcess
    redis: RedisServer
    wall: Firewall

    def ask(self, team: str) -> httpx.Response:
        return ask(self.gateway, team=team, max_tokens=5)

    def is_away(self) -> str | None:
        away: str | None = self.gateway.readyz().get("store_away")
        return away

    def metric(self, name: str) -> float:
        text = self.gateway.http.get(f"{self.gateway.url}/metrics").text
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.rsplit(" ", 1)[1])


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer("--appendfsync", "always", "--enable-protected-configs", "yes"))
        wall = stack.enter_context(Firewall(redis.port))
        provider = stack.enter_context(FaultProvider())
        environ = {"REDIS_URL": f"redis://127.0.0.1:{wall.port}/0"}
        gateway = stack.enter_context(
            running(tmp_path_factory.mktemp("town"), table_of({"only": provider.base_url}), environ=environ)
        )
        town = Town(gateway, redis, wall)
        for team, fields in TEAMS.items():
            gateway.key(team, **fields)
        yield town


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_it_is_bounded_seen_and_over_when_it_is_over(town: Town, harm: Harm) -> None:
    until(lambda: all(town.ask(team).status_code == 200 for team in TEAMS), "all is well")
    assert town.is_away() is None

    with befallen(town.redis, town.wall, harm):
        until(town.is_away, "the loss to be seen")
        began_s = time.monotonic()
        answers = {team: town.ask(team) for team in TEAMS}
        assert time.monotonic() - began_s < QUICK_S
        assert {team for team, answer in answers.items() if answer.status_code != 200} == REFUSED
        for team in REFUSED:
            assert (answers[team].status_code, answers[team].json()["error"]["code"]) == (502, "ledger_unavailable")
            assert 1 <= int(answers[team].headers["retry-after"]) <= 60
        assert town.gateway.http.get(f"{town.gateway.url}/readyz").status_code == 200
        assert town.gateway.http.get(f"{town.gateway.url}/healthz").status_code == 200
        assert town.metric("gateway_store_away") == 1
        assert town.gateway.readyz()["unshipped_entries"] >= len(TEAMS) - len(REFUSED)

    until(lambda: town.is_away() is None, "the store to be back")
    for team in set(TEAMS) - REFUSED:
        (entry,) = town.gateway.story(answers[team].headers["inference-id"])
        assert (entry.answered, entry.estimated, entry.away) == (True, False, team != "free")
    until(lambda: town.ask("strict").status_code == 200, "strict budgets to be held again")
    assert town.metric("gateway_store_away") == 0


def test_forgotten_scripts_are_taught_again(town: Town) -> None:
    until(lambda: town.ask("strict").status_code == 200, "all is well")
    town.redis.command("SCRIPT", "FLUSH")
    assert {team: town.ask(team).status_code for team in TEAMS} == dict.fromkeys(TEAMS, 200)
    assert town.is_away() is None


def test_nothing_of_it_was_counted_twice_or_lost(town: Town) -> None:
    """The books after all of the above."""
    until(lambda: not town.gateway.readyz().get("unshipped_entries"), "all usage in the store")
    lines = town.gateway.export()
    assert len({line["attempt_id"] for line in lines}) == len(lines)
    spent = {team: sum(1 for line in lines if line["team"] == team and line["status"] == 200) for team in TEAMS}
    assert min(spent.values()) > 0
