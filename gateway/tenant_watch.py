"""Tells this worker's cache of keys, within a fifth of a second, that somebody has changed teams or keys.

Every such change ends with a line in the audit, so the newest line is all there is to look at. Nothing of it is on a
request's path; while the store is away what is known holds, as the cache says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway.store.base import AuditEntry, StoreAway, Tenants

LOOK_EVERY_S: Final = 0.2


class TenantWatch:
    """One per worker."""

    def __init__(self, store: Tenants, on_change: Callable[[], None]) -> None:
        self._store = store
        self._on_change = on_change
        self._newest: list[AuditEntry] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(StoreAway):  # the shipper says so
                await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Raises StoreAway."""
        newest = await self._store.audit(limit=1)
        if newest != self._newest:
            self._newest = newest
            self._on_change()
