"""Between a worker and Redis lies a link that loses, delays and breaks: what is settled counts once, what is held is
given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.records import Admission, Scope
from gateway.store import shipper as shipping
from gateway.store.base import Store, StoreAway
from gateway.store.open import open_store
from gateway.store.redis import connect
from gateway.store.redis.names import TeamNames
from gateway.store.shipper import Shipper
from gateway.tenants import Team
from tests.faults.chaos_tcp import Chaos
from tests.store.redis_server import RedisServer
from tests.store.samples import OTHER_TEAM, TEAM, admit, budget, entry
from tests.store.test_ledger import assert_equals_fold
from tests.store.test_shipping import fold_of, journal

FAULTS: Mapping[str, dict[str, Any]] = {
    "replies are lost": {"lose_reply": 0.2},
    "requests are lost": {"lose_request": 0.2},
    "it is slow and uneven": {"latency_ms": 5, "jitter_ms": 40},
    "bytes are changed": {"corrupt": 0.2},
    "it flaps": {"refuse": "rst", "cut_after": 4_000, "flap_on_ms": 40, "flap_off_ms": 60},
}
REQUESTS = 60


def through(
    redis_server: RedisServer, tmp_path: Path, faults: dict[str, Any], act: Callable[[Store, Store], Awaitable[None]]
) -> None:
    """`act` gets the store over the bad link, and over a good one."""

    async def acted() -> None:
        async with Chaos("127.0.0.1:0", f"127.0.0.1:{redis_server.port}") as link:
            good = await open_store(state_dir=tmp_path, redis_url=redis_server.url)
            bad = await open_store(state_dir=tmp_path, redis_url=f"redis://{link.address}/0")
            for team_id in (TEAM, OTHER_TEAM):
                await good.create_team(Team(team_id, team_id, 0))
            link.set(**faults)
            try:
                await act(bad, good)
            finally:
                link.heal()
                await bad.aclose()
                await good.aclose()

    redis_server.command("FLUSHALL")
    asyncio.run(acted())


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
def test_what_is_held_and_settled_over_it_is_right_in_the_end(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: dict[str, Any]
) -> None:
    monkeypatch.setattr(connect, "REST_S", 0.01)
    monkeypatch.setattr(shipping, "BACK_OFF_MIN_S", 0.005)
    monkeypatch.setattr(shipping, "BACK_OFF_MAX_S", 0.02)
    scope = Scope("team", budget_nano_usd=10**9, budget_window="total", concurrency=REQUESTS)

    async def act(bad: Store, good: Store) -> None:
        writer = journal(tmp_path)
        shipper = Shipper(bad, batch_s=0.001)
        shipper.add(writer)
        unheard = 0
        for number in range(REQUESTS):
            team = (TEAM, OTHER_TEAM)[number % 2]
            asked = admit([scope], team_id=team, lease_ms=60_000)
            try:
                (answer,) = await bad.admit([asked])
                assert isinstance(answer, Admission)
            except StoreAway:
                unheard += 1  # it may be held all the same, and is closed like any other
            seq, prev = writer.turn(team)
            writer.append_closed(entry(seq, prev=prev, team_id=team, inference_id=asked.inference_id))
        assert unheard or "latency_ms" in faults
        assert await shipper.drain(20)
        await shipper.aclose()
        await assert_equals_fold(good, fold_of(writer))
        for team in (TEAM, OTHER_TEAM):
            names = TeamNames("gw", team)
            assert redis_server.command("HLEN", names.held) == "0"
            assert redis_server.command("HLEN", names.holds) == "0"
            assert redis_server.command("ZCARD", names.slots("team")) == "0"
            assert redis_server.command("LLEN", names.poison) == "0"
            (after,) = await good.admit([admit([budget(10**9)], team_id=team, hold_nano_usd=0)])
            assert after.remaining["team"]["budget_nano_usd"] == 10**9 - REQUESTS // 2 * 74_800
        await writer.aclose()

    through(redis_server, tmp_path, faults, act)
