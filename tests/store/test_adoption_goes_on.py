"""Adoption survives a disk that is full for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gateway import adoption
from gateway.adoption import Adoption
from gateway.journal.reader import SHIPPED_NAME
from gateway.journal.shipped import mark_shipped
from gateway.journal.writer import JournalWriter
from gateway.store.base import Store, StoreAway
from gateway.store.open import open_store
from gateway.store.shipper import Shipper
from tests.store.samples import TEAM, entry


def test_a_full_disk_ends_no_adoption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act() -> None:
        root = tmp_path / "journal"
        dead = JournalWriter.create(root, "i_dead")
        dead.append_closed(entry(1))
        await dead.aclose()
        own = JournalWriter.create(root, "i_own")
        store = await open_store(state_dir=tmp_path)
        shipper = Shipper(store, batch_s=0.001)
        tried = asyncio.Event()

        def full(*_: object) -> None:
            tried.set()
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(adoption, "mark_shipped", full)
        monkeypatch.setattr(adoption, "ADOPT_EVERY_S", 0.01)
        running = asyncio.ensure_future(Adoption(root, own, shipper, store).run())
        await asyncio.wait_for(tried.wait(), 10)
        monkeypatch.setattr(adoption, "mark_shipped", mark_shipped)
        async with asyncio.timeout(10):
            while not (root / "i_dead" / SHIPPED_NAME).exists():
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])
        await shipper.aclose()
        await own.aclose()
        await store.aclose()

    asyncio.run(act())


def test_a_store_that_was_away_for_a_moment_delays_adoption_by_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a dead worker held is not spendable before."""
    monkeypatch.setattr(adoption, "AWAY_RETRY_S", 0.01)
    monkeypatch.setattr(adoption, "ADOPT_EVERY_S", 3600.0)

    class AwayAtFirst:
        def __init__(self, store: Store) -> None:
            self._store, self.asked = store, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def watermarks(self, instance: str, team_ids: Iterable[str]) -> dict[str, int]:
            self.asked += 1
            if self.asked == 1:
                raise StoreAway("a moment")
            return await self._store.watermarks(instance, team_ids)

    async def act() -> None:
        root = tmp_path / "journal"
        dead = JournalWriter.create(root, "i_dead")
        dead.append_closed(entry(1))
        await dead.aclose()
        own = JournalWriter.create(root, "i_own")
        store = await open_store(state_dir=tmp_path)
        shipper = Shipper(store, batch_s=0.001)
        adopts = Adoption(root, own, shipper, AwayAtFirst(store))
        running = asyncio.ensure_future(adopts.run())
        async with asyncio.timeout(10):
            while not await store.watermarks("i_dead", [TEAM]):
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])
        await adopts.aclose()
        await shipper.aclose()
        await own.aclose()
        await store.aclose()

    asyncio.run(act())
