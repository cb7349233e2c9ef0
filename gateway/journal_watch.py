"""Tells the metrics, once a second, how far the journals of this worker are from the store."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.adoption import Adoption
from gateway.metrics import Metrics
from gateway.store.shipper import Shipper

TELL_EVERY_S: Final = 1.0


class JournalWatch:
    """One per worker."""

    def __init__(self, metrics: Metrics, shipper: Shipper, adoption: Adoption) -> None:
        self._metrics = metrics
        self._shipper = shipper
        self._adoption = adoption
        self._lost_told = 0
        self._bad_told = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.tell()
            await asyncio.sleep(TELL_EVERY_S)

    def tell(self) -> None:
        lost, bad = self._shipper.lost_entries, self._adoption.bad_frames
        self._metrics.unshipped_entries.set(self._shipper.pending_entries)
        self._metrics.parked_journals.set(self._shipper.parked_lanes)
        self._metrics.lost_entries.inc(lost - self._lost_told)
        self._metrics.bad_entries.inc(bad - self._bad_told)
        self._lost_told, self._bad_told = lost, bad
