"""Tells the metrics and the log, once a second, which breakers this worker holds open."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.log import Log
from gateway.metrics import Metrics
from gateway.routing.health import HealthBook, OfferKey

TELL_EVERY_S: Final = 1.0


class BreakerWatch:
    """One per worker."""

    def __init__(self, metrics: Metrics, log: Log, book: HealthBook) -> None:
        self._metrics = metrics
        self._log = log
        self._book = book
        self._open: set[OfferKey] = set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.tell()
            await asyncio.sleep(TELL_EVERY_S)

    def tell(self) -> None:
        is_open = self._book.open_breakers()
        for provider, model in is_open - self._open:
            self._metrics.open_breakers.labels(provider, model).set(1)
            self._log.warning("breaker_opened", provider=provider, provider_model=model)
        for provider, model in self._open - is_open:
            self._metrics.open_breakers.labels(provider, model).set(0)
            self._log.info("breaker_closed", provider=provider, provider_model=model)
        self._open = is_open
