"""Tells the store every two seconds that this worker lives, and hears how many do, and whether the store does.

By the count each worker knows its part of what is left while the store is away. A loss is noticed soon, also by a
worker that has nothing else to ask; and so is a clock that differs from the store's, by which all periods go.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.admission import Admissions
from gateway.metrics import Metrics
from gateway.store.base import Ledger, StoreAway

BEAT_EVERY_S: Final = 2.0


class Presence:
    """One per worker. `away` says why the store cannot be asked, None while it can."""

    def __init__(self, instance: str, ledger: Ledger, admissions: Admissions, metrics: Metrics) -> None:
        self.away: str | None = None
        self._instance = instance
        self._ledger = ledger
        self._admissions = admissions
        self._metrics = metrics

    async def run(self) -> None:
        """At once and then every two seconds, until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_EVERY_S)

    async def beat(self) -> None:
        grace = self._admissions.grace
        try:
            asked_ms = self._admissions.clock_ms()
            grace.workers, store_ms = await self._ledger.count_workers(self._instance)
            self._admissions.compare_clocks(asked_ms, store_ms)
            if self.away is not None:
                # What was admitted meanwhile, and still runs, has no hold there.
                await self._admissions.hold_again()
        except StoreAway as error:
            self.away = error.reason
            grace.lost()
        else:
            self.away = None
            grace.found()
        self._metrics.store_away.set(self.away is not None)
