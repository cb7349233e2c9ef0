"""Holds of requests that nobody closes: given back when their lease ends, and told until somebody does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.records import Admission, Admit, Refusal
from gateway.store.base import ExpiredHold, Store
from tests.store.conftest import OpenStore
from tests.store.samples import NOW_MS, TEAM, admit, budget, entry, run_of, with_store, with_teams

EVER_MS = NOW_MS + 86_400_000
ENDED_MS = 2
"""A lease that is over when the next question is asked."""


def on(store_at: OpenStore, act: Callable[[Store], Awaitable[None]]) -> None:
    asyncio.run(with_store(store_at, with_teams(act)))


async def hold(store: Store, nano_usd: int) -> Admit:
    asked = admit([budget(1000)], hold_nano_usd=nano_usd, lease_ms=ENDED_MS)
    assert isinstance((await store.admit([asked]))[0], Admission)
    await asyncio.sleep(2 * ENDED_MS / 1000)
    return asked


async def expired(store: Store) -> list[ExpiredHold]:
    return await store.expired_holds(from_ms=0, to_ms=EVER_MS)


def test_a_sweep_gives_back_what_nobody_asks_for(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        asked = await hold(store, 700)
        assert await expired(store) == []
        assert await store.sweep_holds() == 1
        (found,) = await expired(store)
        assert (found.team_id, found.inference_id, found.nano_usd) == (TEAM, asked.inference_id, 700)
        assert await store.expired_holds(from_ms=0, to_ms=EVER_MS, team_ids=["t_other0000000"]) == []
        assert await store.expired_holds(from_ms=found.at_ms + 1, to_ms=EVER_MS) == []
        admission = (await store.admit([admit([budget(1000)], hold_nano_usd=1000)]))[0]
        assert isinstance(admission, Admission)
        assert admission.remaining["team"]["budget_nano_usd"] == 0

    on(store_at, act)


def test_fifty_expired_holds_are_in_nobodys_way(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        asked = [admit([budget(1000)], hold_nano_usd=20, lease_ms=50) for _ in range(50)]
        assert all(isinstance(answer, Admission) for answer in await store.admit(asked))
        assert isinstance((await store.admit([admit([budget(1000)], hold_nano_usd=1)]))[0], Refusal)
        await asyncio.sleep(0.06)
        assert isinstance((await store.admit([admit([budget(1000)], hold_nano_usd=1000)]))[0], Admission)
        assert sum(one.nano_usd for one in await expired(store)) == 1000

    on(store_at, act)


def test_a_request_that_is_closed_after_all_is_charged_and_told_no_more(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        first, second = await hold(store, 300), await hold(store, 400)
        await store.sweep_holds()
        attempt = entry(1, inference_id=first.inference_id, charge_nano_usd=0, last=False)
        await store.settle(run_of([attempt]))
        assert [one.inference_id for one in await expired(store)] == [first.inference_id, second.inference_id]
        await store.settle(run_of([entry(2, inference_id=first.inference_id, charge_nano_usd=300)]))
        assert [one.inference_id for one in await expired(store)] == [second.inference_id]
        admission = (await store.admit([admit([budget(1000)], hold_nano_usd=0)]))[0]
        assert admission.remaining["team"]["budget_nano_usd"] == 700

    on(store_at, act)


def test_two_hosts_that_sweep_at_once_count_a_hold_once(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        for _ in range(3):
            await hold(store, 100)
        other = await store_at()
        # The second admission of each has already ended the hold before it.
        assert sum(await asyncio.gather(store.sweep_holds(), other.sweep_holds())) == 1
        assert len(await expired(store)) == 3
        await other.aclose()

    on(store_at, act)
