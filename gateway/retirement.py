"""What becomes of journals that the store has: kept for a day, then compressed for a month, then removed.

Every figure is a setting. Only whoever holds a journal's lock touches its segments: a living worker those of its own
and of the journals it adopted, and anybody, one at a time, those that were wholly shipped.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.journal.archive import archive_of, archive_segment, drop_archived, unpack_into
from gateway.journal.lock import take_lock
from gateway.journal.reader import SHIPPED_NAME, read_state, segments
from gateway.journal.writer import JournalWriter, make_folder

RETIRE_EVERY_S: Final = 60.0
OPEN_S: Final = 3600.0
"""A segment may hold the intents of requests that still run: before this it is never compressed for want of room."""
UNFINISHED_S: Final = 60.0
"""A folder that was never renamed is rubbish after this."""
MAKING: Final = ".new-"
LEAVING: Final = ".old-"

log = logging.getLogger("gateway.journal")


@dataclass(frozen=True, slots=True)
class Kept:
    """How long, and how much of, what the store has is kept as it was written; and how long compressed."""

    journal_s: float = 24 * 3600.0
    journal_bytes: int = 4 << 30
    archive_s: float = 35 * 86_400.0


class Retirement:
    """One per worker. `writers` gives the journals whose locks this worker holds."""

    def __init__(self, root: Path, writers: Callable[[], list[JournalWriter]], kept: Kept) -> None:
        self._root = root
        self._writers = writers
        self._kept = kept

    async def run(self) -> None:
        """At once and then every minute, until cancelled."""
        while True:
            try:
                await self.retire()
            except OSError as error:
                log.error("old journals could not be archived: %s", error)
            await asyncio.sleep(RETIRE_EVERY_S)

    async def retire(self, now_s: float | None = None) -> None:
        """One round. Raises OSError; what was not done is done by the next."""
        now_s = time.time() if now_s is None else now_s
        excess = await asyncio.to_thread(_size_of, self._root) - self._kept.journal_bytes
        for writer in self._writers():
            for sealed in writer.acknowledged():
                age_s = now_s - sealed.sealed_at_s
                if not (age_s > max(self._kept.journal_s, OPEN_S) or (excess > 0 and age_s > OPEN_S)):
                    break
                excess -= sealed.path.stat().st_size
                folder = archive_of(self._root) / writer.instance
                path = await asyncio.to_thread(archive_segment, sealed.path, sealed.last, folder)
                # Whoever reads the journal is sent to the archive before its own file goes.
                writer.moved(sealed, path)
                sealed.path.unlink(missing_ok=True)
        await asyncio.to_thread(retire_folders, self._root, self._kept, excess, now_s)
        await asyncio.to_thread(drop_archived, archive_of(self._root), older_than_s=now_s - self._kept.archive_s)


def retire_folders(root: Path, kept: Kept, excess: int, now_s: float) -> None:
    """Archives journals that were wholly shipped: those of a day ago, and the oldest while there are `excess` bytes too
    many. Removes what was never finished. Raises OSError."""
    _remove_unfinished(root, now_s)
    for shipped_at_s, folder in sorted(_shipped_folders(root)):
        if shipped_at_s >= now_s - kept.journal_s and excess <= 0:
            break
        size = _size_of(folder)
        lock = take_lock(folder, shipped=True)
        if lock is None:
            continue  # another worker is at it
        try:
            archive_folder(folder)
        finally:
            os.close(lock)
        excess -= size


def archive_folder(folder: Path) -> None:
    """Archives a journal as a whole, and removes its folder. Whoever calls it holds its lock. Raises OSError."""
    archived = archive_of(folder.parent) / folder.name
    here = set(segments(folder))
    for path, last in read_state(folder).segments:
        if path in here:
            archive_segment(path, last, archived)
    for path in folder.glob("*.bad"):
        archived.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.replace(archived / path.name)
    leaving = folder.with_name(f"{LEAVING}{folder.name}")
    folder.rename(leaving)
    shutil.rmtree(leaving, ignore_errors=True)


def bring_back(root: Path, instance: str) -> bool:
    """Makes a journal of an archive again, for somebody to adopt; False where there is one already, or somebody else is
    making it. The archive stays as it is. Raises OSError."""
    archived = archive_of(root) / instance
    if (root / instance).exists():
        return False
    try:
        _, lock = make_folder(root, instance, lambda folder: unpack_into(archived, folder))
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    os.close(lock)
    return True


def _shipped_folders(root: Path) -> Iterator[tuple[float, Path]]:
    for folder in root.iterdir():
        try:
            if not folder.name.startswith("."):
                yield (folder / SHIPPED_NAME).stat().st_mtime, folder
        except (FileNotFoundError, NotADirectoryError):
            continue


def _remove_unfinished(root: Path, now_s: float) -> None:
    for folder in root.iterdir():
        try:
            if folder.name.startswith(LEAVING):
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.name.startswith(MAKING) and folder.stat().st_mtime < now_s - UNFINISHED_S:
                lock = take_lock(folder)
                if lock is not None:
                    shutil.rmtree(folder)
                    os.close(lock)
        except FileNotFoundError:
            continue  # another worker is cleaning up too


def _size_of(folder: Path) -> int:
    """Bytes on disk, of all files below. What goes away meanwhile counts or does not."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(place) / name).stat().st_blocks * 512
    return total
