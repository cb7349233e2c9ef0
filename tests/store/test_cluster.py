"""A real cluster of three masters with a replica each: a dead node is away for its own teams alone, and whoever takes
over is told again what it never got."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.store.base import Store, StoreAway
from gateway.store.open import open_store
from gateway.tenants import Team
from tests.chaos.ledgers import free_base
from tests.faults.redis_fleet import Fleet
from tests.store.test_ledger import assert_equals_fold
from tests.store.test_rollbacks import PATIENCE_S, Worker
from tests.store.test_shipping import fold_of, write

TEAMS = tuple(f"t_{letter * 12}" for letter in "abcdefgh")


@pytest.fixture
def fleet() -> Iterator[Any]:
    with Fleet("cluster", base=free_base(6), fsync="no") as fleet:  # type: ignore[no-untyped-call]
        yield fleet


def test_a_dead_master_is_away_for_its_own_teams_alone(fleet: Any, tmp_path: Path) -> None:
    async def act(store: Store) -> None:
        for team in TEAMS:
            await store.create_team(Team(team, team, 0))
        worker = Worker(tmp_path, store)
        try:
            async with asyncio.timeout(5 * PATIENCE_S):
                for team in TEAMS:
                    write(worker.own, 3, team=team)
                assert await worker.shipper.drain(PATIENCE_S)
                fleet.kill(random.choice(["c0", "c1", "c2"]))
                for team in TEAMS:
                    write(worker.own, 3, team=team)
                living = 0
                while living < 3:
                    living = sum([await has(store, team, 6) for team in TEAMS])
                    await asyncio.sleep(0.05)
                while sum([await has(store, team, 6) for team in TEAMS]) < len(TEAMS):
                    await asyncio.sleep(0.1)
                # Reports have a connection of their own, which begins only now.
                await assert_equals_fold(store, fold_of(worker.own), TEAMS)
        finally:
            await worker.end()

    async def opened() -> None:
        store = await open_store(
            state_dir=tmp_path,
            redis_url="redis://" + ",".join(f"127.0.0.1:{fleet.port[name]}" for name in ("c0", "c1", "c2")),
            redis_mode="cluster",
        )
        try:
            await act(store)
        finally:
            await store.aclose()

    asyncio.run(opened())


async def has(store: Store, team: str, seq: int) -> bool:
    try:
        return (await store.watermarks("i_own", [team])).get(team) == seq
    except StoreAway:
        return False
