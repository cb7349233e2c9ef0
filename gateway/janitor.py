"""Gives back what is held for requests of hosts that are gone, whether or not anybody asks for it.

A worker that dies leaves its journal to another one, who closes its requests. Where the host went with its disk nobody
does; then the lease of each hold ends, and what providers may bill for it is told among the losses.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from gateway.store.base import Ledger, StoreAway

SWEEP_EVERY_S: Final = 10.0

log = logging.getLogger("gateway.janitor")


class Janitor:
    """One per worker; the store sees to it that not all of them sweep at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def run(self) -> None:
        """At once and then every ten seconds, until cancelled."""
        while True:
            try:
                if ended := await self._ledger.sweep_holds():
                    log.warning("%d holds expired whose requests nobody closed: see gateway usage --losses", ended)
            except StoreAway:
                pass  # the shipper says so
            await asyncio.sleep(SWEEP_EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the load, hides nothing
