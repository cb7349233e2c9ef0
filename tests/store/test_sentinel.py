"""A real master with two replicas and three sentinels: whoever is master is found, and what a failover lost comes
back. Needs a redis-server that can be a sentinel, which Debian's is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.store.base import Store, StoreAway
from gateway.store.open import open_store
from tests.chaos.ledgers import Trio
from tests.store.samples import OTHER_TEAM, TEAM, with_store, with_teams
from tests.store.test_ledger import assert_equals_fold
from tests.store.test_rollbacks import PATIENCE_S, Worker, until_shipped
from tests.store.test_shipping import fold_of, write


@pytest.fixture(scope="module")
def trio() -> Iterator[Trio]:
    with Trio(random.Random(5)) as trio:
        yield trio


async def opened(folder: Path, url: str) -> Store:
    return await open_store(state_dir=folder, redis_url=url, redis_mode="sentinel")


def test_a_dead_sentinel_among_them_is_passed_over(trio: Trio, tmp_path: Path) -> None:
    async def act(store: Store) -> None:
        assert {team.id for team in await store.teams()} == {TEAM, OTHER_TEAM}

    url = trio.environ["REDIS_URL"].replace("redis://", "redis://127.0.0.1:1,")
    asyncio.run(with_store(lambda: opened(tmp_path, url), with_teams(act)))


async def until_reported(store: Store, worker: Worker) -> None:
    """Until reports agree with the journal: they have connections of their own, which may find the successor later."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(AssertionError, StoreAway):
                return await assert_equals_fold(store, fold_of(worker.own))
            await asyncio.sleep(0.05)


def test_what_a_lagging_replica_never_got_is_shipped_to_it_again(
    trio: Trio, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(store: Store) -> None:
        worker = Worker(tmp_path, store)
        try:
            async with asyncio.timeout(6 * PATIENCE_S):
                write(worker.own, 20)
                assert await worker.shipper.drain(PATIENCE_S)
                failing_over = asyncio.create_task(asyncio.to_thread(trio.lose_master))
                while not failing_over.done():
                    write(worker.own, 5)
                    write(worker.own, 1, team=OTHER_TEAM)
                    await asyncio.sleep(0.05)
                await failing_over
                await until_found(store)
                await until_shipped(worker, store, *(("i_own", team, seq) for team, seq in worker.own.last.items()))
                await until_reported(store, worker)
        finally:
            await worker.end()

    asyncio.run(with_store(lambda: opened(tmp_path, trio.environ["REDIS_URL"]), with_teams(act)))
    assert "the store went back" in caplog.text


async def until_found(store: Store) -> None:
    while True:
        try:
            await store.ping()
            return
        except StoreAway:
            await asyncio.sleep(0.1)
