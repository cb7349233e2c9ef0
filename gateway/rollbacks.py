"""Finds out whether the store has lost what it acknowledged, and has it sent again.

A Redis that was restored, or whose replica took over too early, is behind the journals. The next run of a team would
meet the gap by itself; this is for teams that send nothing more, and for journals that were let go of already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from gateway.adoption import Adoption
from gateway.journal.reader import SHIPPED_NAME
from gateway.journal.shipped import shipped_sequences
from gateway.store.base import Ledger, StoreAway
from gateway.store.shipper import Shipper

COMPARE_EVERY_S: Final = 600.0
RETRY_S: Final = 1.0

log = logging.getLogger("gateway.journal")


class Rollbacks:
    """One per worker. `hold_again` holds anew what its running requests held; `pause` and `resume` are about
    admissions."""

    def __init__(
        self,
        root: Path,
        adoption: Adoption,
        shipper: Shipper,
        ledger: Ledger,
        *,
        hold_again: Callable[[], Awaitable[None]],
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self.found = 0
        """How often the store had lost something of a journal that was already let go of."""
        self._root = root
        self._adoption = adoption
        self._shipper = shipper
        self._ledger = ledger
        self._hold_again = hold_again
        self._pause = pause
        self._resume = resume
        self._suspicion = asyncio.Event()
        ledger.on_change(self._suspect)

    async def run(self) -> None:
        """Compares at once, whenever the store is another than before, and every ten minutes; until cancelled."""
        self._suspicion.set()
        while True:
            try:
                async with asyncio.timeout(COMPARE_EVERY_S):
                    await self._suspicion.wait()
            except TimeoutError:
                pass
            self._suspicion.clear()
            try:
                await self.compare()
            except StoreAway:
                self._suspicion.set()
                await asyncio.sleep(RETRY_S)
            except OSError as error:
                log.error("journals cannot be compared with the store: %s", error)

    async def compare(self) -> None:
        """Running requests hold again what they held, then all journals are shipped from where the store is. Raises
        StoreAway and OSError."""
        try:
            await self._hold_again()
        finally:
            # A store that is away refuses by itself.
            self._resume()
        for writer in self._adoption.writers:
            await self._shipper.compare(writer)
        await self._reopen_shipped()

    def _suspect(self) -> None:
        self._pause()
        self._suspicion.set()

    async def _reopen_shipped(self) -> None:
        """Journals that are kept though all of them was shipped, as long as the store still has it all."""
        reopened = False
        for folder in await asyncio.to_thread(_shipped_folders, self._root):
            last = await asyncio.to_thread(shipped_sequences, folder)
            marks = await self._ledger.watermarks(folder.name, list(last))
            if any(marks.get(team_id, 0) < seq for team_id, seq in last.items()):
                log.warning("the store lost entries of the journal %s, which is shipped again", folder.name)
                (folder / SHIPPED_NAME).unlink(missing_ok=True)
                self.found += 1
                reopened = True
        if reopened:
            await self._adoption.adopt()


def _shipped_folders(root: Path) -> list[Path]:
    """Those of which the store may still have watermarks, which live longer than any folder here."""
    return sorted(folder for folder in root.iterdir() if (folder / SHIPPED_NAME).exists())
