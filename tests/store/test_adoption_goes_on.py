"""Adoption survives a disk that is full for a while."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway import adoption
from gateway.adoption import Adoption
from gateway.journal.reader import SHIPPED_NAME
from gateway.journal.shipped import mark_shipped
from gateway.journal.writer import JournalWriter
from gateway.store.open import open_store
from gateway.store.shipper import Shipper
from tests.store.samples import entry


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
