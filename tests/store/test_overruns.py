"""What can go past a strict budget, by cause: each is counted, to the nano-dollar, and nothing else is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from gateway.adoption import Adoption
from gateway.journal.writer import JournalWriter
from gateway.records import Admission, BudgetTaken, Crossing
from gateway.store.base import Store
from gateway.store.open import open_store
from gateway.store.redis.names import TeamNames
from gateway.store.runs import OVERRUN_CAUSES
from gateway.store.shipper import Shipper
from gateway.tenants import Team
from tests.store.conftest import OpenStore
from tests.store.redis_server import RedisServer
from tests.store.samples import TEAM, admit, budget, entry, ids, with_store

BUDGET = BudgetTaken("team", "total", 1_000, strict=True, warn_at=())


class Heard:
    """A budget listener that adds up."""

    def __init__(self) -> None:
        self.overruns: Counter[str] = Counter()

    def overrun(self, cause: str, nano_usd: int) -> None:
        self.overruns[cause] += nano_usd

    async def crossed(self, crossings: Sequence[Crossing]) -> None:
        raise AssertionError("there are no thresholds here")


class House:
    """A worker with its journal, before a store."""

    def __init__(self, store: Store, root: Path) -> None:
        self.store = store
        self.root = root
        self.heard = Heard()
        self.shipper = Shipper(store, batch_s=0.001, budget_listener=self.heard)
        self.own = self.journal("i_own")
        self.shipper.add(self.own)

    def journal(self, instance: str) -> JournalWriter:
        return JournalWriter.create(self.root / "journal", instance, sync="off")

    async def admitted(self, *, lease_ms: int = 60_000) -> str:
        """A request that may cost the whole budget."""
        (answer,) = await self.store.admit([admit([budget(1_000)], hold_nano_usd=1_000, lease_ms=lease_ms)])
        assert isinstance(answer, Admission), answer
        return answer.inference_id

    def close(self, inference_id: str, *, writer: JournalWriter | None = None, away: bool = False) -> None:
        """It did cost all of it."""
        writer = writer or self.own
        seq, prev = writer.turn(TEAM)
        writer.append_closed(
            entry(seq, prev=prev, inference_id=inference_id, charge_nano_usd=1_000, budgets=(BUDGET,), away=away)
        )


def in_house(store_at: OpenStore, root: Path, act: Callable[[House], Awaitable[None]]) -> Counter[str]:
    async def acted(store: Store) -> None:
        await store.create_team(Team(TEAM, "search", 0))
        house = House(store, root)
        try:
            await act(house)
            assert await house.shipper.drain(10)
        finally:
            await house.shipper.aclose()
            await house.own.aclose()
        heard.update(house.heard.overruns)

    heard: Counter[str] = Counter()
    asyncio.run(with_store(store_at, acted))
    return heard


def test_a_hold_that_was_kept_lets_nothing_past(store_at: OpenStore, tmp_path: Path) -> None:
    async def act(house: House) -> None:
        house.close(await house.admitted())

    assert in_house(store_at, tmp_path, act) == {}


def test_a_store_that_lost_holds(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.command("FLUSHALL")
    names = TeamNames("gw", TEAM)

    async def act(house: House) -> None:
        first = await house.admitted()
        redis_server.command("DEL", names.holds, names.leases, names.held)
        second = await house.admitted()
        house.close(first)
        house.close(second)

    opener = partial(open_store, state_dir=tmp_path, redis_url=redis_server.url)
    assert in_house(opener, tmp_path, act) == {"store_lost": 1_000}


def test_a_dead_workers_journal_that_comes_after_its_leases(store_at: OpenStore, tmp_path: Path) -> None:
    async def act(house: House) -> None:
        dead = house.journal("i_dead")
        house.close(await house.admitted(lease_ms=-1), writer=dead)
        await dead.aclose()
        house.close(await house.admitted())
        assert await house.shipper.drain(10)
        adoption = Adoption(house.root / "journal", house.own, house.shipper, house.store)
        assert await adoption.adopt() == 1
        assert await house.shipper.drain(10)
        await adoption.aclose()

    assert in_house(store_at, tmp_path, act) == {"late_journal": 1_000}


def test_a_team_that_went_on_without_the_store(store_at: OpenStore, tmp_path: Path) -> None:
    async def act(house: House) -> None:
        house.close(await house.admitted())
        for _ in range(3):
            house.close(ids.next(), away=True)

    assert in_house(store_at, tmp_path, act) == {"store_away": 3_000}


def test_each_cause_counts_for_itself(store_at: OpenStore, tmp_path: Path) -> None:
    """Entries of two causes lie side by side in one journal."""

    async def act(house: House) -> None:
        for away in (False, True, True, False):
            house.close(ids.next(), away=away)

    heard = in_house(store_at, tmp_path, act)
    assert heard == {"store_away": 2_000, "store_lost": 1_000}
    assert set(heard) <= set(OVERRUN_CAUSES)
