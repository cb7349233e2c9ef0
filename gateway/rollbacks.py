"""Finds out whether the store has lost what it acknowledged, and has it sent again.

A Redis that was restored, or whose replica took over too early, is behind the journals. The next run of a team would
meet the gap by itself; this is for teams that send nothing more, and for journals that were let go of already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from gateway.adoption import Adoption
from gateway.journal.archive import archive_of
from gateway.journal.reader import SHIPPED_NAME
from gateway.journal.shipped import archived_sequences, shipped_sequences
from gateway.retirement import bring_back
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
        if await self._reopen_shipped() + await self._bring_back_archived():
            await self._adoption.adopt()

    def _suspect(self) -> None:
        self._pause()
        self._suspicion.set()

    async def _reopen_shipped(self) -> int:
        """Journals that are kept though all of them was shipped, as long as the store still has it all."""
        reopened = 0
        for folder in await asyncio.to_thread(_shipped_folders, self._root):
            last = await asyncio.to_thread(shipped_sequences, folder)
            if await self._is_behind(folder.name, last):
                (folder / SHIPPED_NAME).unlink(missing_ok=True)
                reopened += 1
        return reopened

    async def _bring_back_archived(self) -> int:
        """The same of journals of which there is only the archive: one at a time, so that the disk has room for it."""
        for archived in await asyncio.to_thread(_archived_folders, self._root):
            last = await asyncio.to_thread(archived_sequences, archived)
            if await self._is_behind(archived.name, last):
                self._suspicion.set()  # there may be more of them
                return int(await asyncio.to_thread(bring_back, self._root, archived.name))
        return 0

    async def _is_behind(self, instance: str, last: Mapping[str, int]) -> bool:
        marks = await self._ledger.watermarks(instance, list(last))
        if all(marks.get(team_id, 0) >= seq for team_id, seq in last.items()):
            return False
        log.warning("the store lost entries of the journal %s, which is shipped again", instance)
        self.found += 1
        return True


def _shipped_folders(root: Path) -> list[Path]:
    """Those of which the store may still have watermarks, which live longer than any folder here."""
    return sorted(folder for folder in root.iterdir() if (folder / SHIPPED_NAME).exists())


def _archived_folders(root: Path) -> list[Path]:
    """Those whose journals have wholly gone into the archive."""
    archive = archive_of(root)
    if not archive.is_dir():
        return []
    return sorted(folder for folder in archive.iterdir() if not (root / folder.name).exists())
