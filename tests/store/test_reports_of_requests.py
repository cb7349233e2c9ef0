"""Reading much holds nobody up, and one request is found by its caller's own id."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.store.base import Store
from gateway.store.sqlite.store import SqliteStore
from tests.store.conftest import OpenStore
from tests.store.samples import NOW_MS, OTHER_TEAM, TEAM, entry, run_of, with_store


def test_a_request_is_found_by_its_callers_id(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        mine = [entry(1, request_id="mine"), entry(2, request_id="mine-too"), entry(3, request_id="mine")]
        await store.settle(run_of(mine))
        await store.settle(run_of([entry(1, team_id=OTHER_TEAM, request_id="mine")]))
        found = await store.entries(from_ms=0, to_ms=NOW_MS + 1, team_ids=[TEAM], request_id="mine")
        assert found == [mine[0], mine[2]]

    asyncio.run(with_store(store_at, act))


def test_a_long_report_holds_up_no_settlement(tmp_path: Path) -> None:
    async def act() -> None:
        store = SqliteStore(tmp_path / "store.db")
        await store.settle(run_of([entry(1)]))
        begun, may_end = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(connection: object) -> None:
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result()

        reading = asyncio.ensure_future(store._database.read(slow))
        await begun.wait()
        settled = await asyncio.wait_for(store.settle(run_of([entry(2)], believed=1)), 5)
        assert settled.outcome == "applied"
        assert not reading.done()
        may_end.set()
        await reading
        await store.aclose()

    asyncio.run(act())
