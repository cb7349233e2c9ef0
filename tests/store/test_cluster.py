"""A real cluster of three masters with a replica each: a dead node is away for its own teams alone, and whoever takes
over is told again what it never got."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.store.base import Store, StoreAway
from gateway.store.open import open_store
from gateway.store.redis.names import TeamNames
from gateway.tenants import Team
from tests.chaos.ledgers import free_base
from tests.faults.redis_fleet import Fleet
from tests.store.samples import admit, budget, with_store
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

    asyncio.run(with_store(partial(open_cluster, fleet, tmp_path), act))


def test_a_team_whose_slot_moves_is_away_for_so_long(fleet: Any, tmp_path: Path) -> None:
    """Half of its keys are on the one node and half on the other: no script may run, and none runs on half of them."""
    team = TEAMS[0]
    masters = ("c0", "c1", "c2")
    ids = {name: fleet.cli(name, "CLUSTER", "MYID") for name in masters}
    slot = fleet.cli("c0", "CLUSTER", "KEYSLOT", TeamNames("gw", team).days)

    def move(source: str, target: str, keys: list[str]) -> None:
        assert fleet.cli(source, "MIGRATE", "127.0.0.1", fleet.port[target], "", 0, 5000, "KEYS", *keys) == "OK"

    async def act(store: Store) -> None:
        await store.create_team(Team(team, team, 0))
        worker = Worker(tmp_path, store)
        try:
            async with asyncio.timeout(3 * PATIENCE_S):
                write(worker.own, 20, team=team)
                assert await worker.shipper.drain(PATIENCE_S)
                (source,) = [name for name in masters if int(fleet.cli(name, "CLUSTER", "COUNTKEYSINSLOT", slot))]
                target = next(name for name in masters if name != source)
                keys = fleet.cli(source, "CLUSTER", "GETKEYSINSLOT", slot, 100).split()
                assert len(keys) >= 5
                assert fleet.cli(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source]) == "OK"
                assert fleet.cli(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target]) == "OK"
                move(source, target, keys[::2])
                write(worker.own, 5, team=team)
                while worker.shipper.away is None:
                    await asyncio.sleep(0.01)
                with pytest.raises(StoreAway):
                    await store.admit([admit([budget(10**9)], team_id=team)])
                move(source, target, keys[1::2])
                for name in (target, source, *masters):
                    assert fleet.cli(name, "CLUSTER", "SETSLOT", slot, "NODE", ids[target]) == "OK"
                assert await worker.shipper.drain(PATIENCE_S)
                await assert_equals_fold(store, fold_of(worker.own), (team,))
                (answer,) = await store.admit([admit([budget(10**9)], team_id=team, hold_nano_usd=0)])
                assert answer.remaining["team"]["budget_nano_usd"] == 10**9 - 25 * 74_800
        finally:
            await worker.end()

    asyncio.run(with_store(partial(open_cluster, fleet, tmp_path), act))


async def open_cluster(fleet: Any, folder: Path) -> Store:
    nodes = ",".join(f"127.0.0.1:{fleet.port[name]}" for name in ("c0", "c1", "c2"))
    return await open_store(state_dir=folder, redis_url=f"redis://{nodes}", redis_mode="cluster")


async def has(store: Store, team: str, seq: int) -> bool:
    try:
        return (await store.watermarks("i_own", [team])).get(team) == seq
    except StoreAway:
        return False
