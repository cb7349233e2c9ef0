"""A meter with a real journal, store and shipper, and the outcomes of its bills: where tests of metering live."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.journal.reader import closed_entries, segments
from gateway.journal.writer import JournalWriter
from gateway.metering import Bill, Meter
from gateway.records import ClosedEntry
from gateway.store.base import Store
from gateway.store.open import open_store
from gateway.store.shipper import Shipper
from gateway.tenants import Principal
from providers.wire import FailureKind, ProviderFailure, Usage
from tests.unit.offers import TEAM, principal

EXACT = Usage(100, 20)


@dataclass
class House:
    meter: Meter
    journal: JournalWriter
    store: Store
    shipper: Shipper

    def closed(self) -> list[ClosedEntry]:
        return list(closed_entries(segments(self.journal.folder)))


def in_house(tmp_path: Path, act: Callable[[House], Awaitable[None]]) -> None:
    async def acted() -> None:
        store = await open_store(state_dir=tmp_path)
        journal = JournalWriter.create(tmp_path / "journal", "i_one")
        shipper = Shipper(store, batch_s=0.001)
        shipper.add(journal)
        try:
            await act(House(Meter(journal=journal, store=store, shipper=shipper), journal, store, shipper))
        finally:
            await shipper.aclose()
            await journal.aclose()
            await store.aclose()

    asyncio.run(acted())


def win(
    bill: Bill,
    usage: Usage | None = EXACT,
    text_chars: int = 80,
    broken: str | None = None,
    *,
    to_go_on: bool = False,
) -> None:
    bill.won(usage=usage, text_chars=text_chars, upstream_id="up", reported_model="m", duration_ms=5,
             first_content_ms=None, broken=broken, to_go_on=to_go_on)  # fmt: skip


def fail(
    bill: Bill, kind: FailureKind, status: int | None = None, *, answered_200: bool = False, chars: int = 0
) -> None:
    bill.failed(ProviderFailure(kind, "no", status=status), answered_200=answered_200, text_chars=chars, duration_ms=3)


def limited(**changes: object) -> Principal:
    return principal(team=replace(TEAM, **changes))  # type: ignore[arg-type]
