"""One worker's journal: an append-only folder of segments with one writer.

Appends are plain writes on the event loop: a few microseconds, safe against kill -9 of the process, and impossible to
cancel half way. Forcing data to disk happens in a thread. Space is allocated ahead, so that requests that are under way
can be closed on a disk that is full; only then are new ones refused.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from gateway.journal.archive import ARCHIVED_SUFFIX, number_of
from gateway.journal.entries import FORMAT, Entry, Open, Ship, frame, frame_closed
from gateway.journal.reader import LOCK_NAME, JournalState, end_of_frames
from gateway.records import ClosedEntry

SEGMENT_BYTES: Final = 64 << 20
ALLOCATE_BYTES: Final = 256 << 10
CLOSE_BYTES: Final = 2 << 10
"""Kept free for each request under way: what its remaining entries may need."""
BACKGROUND_SYNC_S: Final = 0.05
GROUP_SYNC_S: Final = 0.005

log = logging.getLogger("gateway.journal")


class JournalFailed(Exception):
    """An entry could not be written. The message is safe to show."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A segment that is no longer written to, and what must be acknowledged before it may go."""

    path: Path
    sealed_at_s: float
    last: dict[str, int]


def make_folder(root: Path, instance: str, fill: Callable[[Path], None] = lambda _: None) -> tuple[Path, int]:
    """A new journal's folder and its lock. It appears under its own name only once it is filled and locked, so nobody
    can adopt a journal whose writer is just starting. Raises OSError, FileExistsError where somebody else makes it."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    making = root / f".new-{instance}"
    making.mkdir(mode=0o700)
    lock = os.open(making / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder = root / instance
    try:
        fill(making)
        making.rename(folder)
    except BaseException:
        os.close(lock)
        raise
    return folder, lock


class JournalWriter:
    """`listener` is called after each closed entry that was written; the shipper sets it."""

    def __init__(
        self,
        folder: Path,
        lock: int,
        *,
        sync: str = "background",
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.folder = folder
        self.instance = folder.name
        self.listener: Callable[[JournalWriter, ClosedEntry], None] | None = None
        self.requests_open = 0
        """Requests under way, for each of which room is kept; the meter counts them."""
        self.adopted = False
        """Begun by a worker that is no more."""
        self.failures = 0
        self.failing = False
        self.last: dict[str, int] = {}
        self.shipped: dict[str, int] = {}
        self.sealed: list[Sealed] = []
        self._lock = lock
        self._clock_ms = clock_ms
        self._sync = sync
        self._fd = -1
        self._end = 0
        self._allocated = 0
        self._number = 0
        self._path = folder
        self._syncing: asyncio.Future[None] | None = None
        self._sync_due: asyncio.TimerHandle | None = None
        self._waiting: list[asyncio.Future[None]] = []

    @classmethod
    def create(cls, root: Path, instance: str, *, sync: str = "background") -> Self:
        """A fresh journal under `root`. Raises OSError."""
        folder, lock = make_folder(root, instance)
        writer = cls(folder, lock, sync=sync)
        writer._next_segment()
        return writer

    @classmethod
    def resume(cls, folder: Path, lock: int, state: JournalState, *, sync: str = "background") -> Self:
        """Goes on in a dead worker's journal, numbering on from its last entries. Raises OSError."""
        writer = cls(folder, lock, sync=sync)
        writer.adopted = True
        writer.last.update(state.last)
        writer.shipped.update(state.shipped)
        for path, last in state.segments:
            if path.suffix != ARCHIVED_SUFFIX:
                os.truncate(path, end_of_frames(path))
            writer.sealed.append(Sealed(path, path.stat().st_mtime, last))
        writer._number = max((number_of(path) for path, _ in state.segments), default=0)
        writer._next_segment()
        return writer

    def turn(self, team_id: str) -> tuple[int, int]:
        """(seq, prev) of this team's next closed entry."""
        prev = self.last.get(team_id, 0)
        return prev + 1, prev

    def paths_after(self, after: Mapping[str, int]) -> list[Path]:
        """The segments that can hold closed entries above these sequences, oldest first."""
        paths = [
            sealed.path
            for sealed in self.sealed
            if any(sealed.last.get(team, 0) > seq for team, seq in after.items())
            # What has left the archive is nowhere any more.
            if sealed.path.suffix != ARCHIVED_SUFFIX or sealed.path.exists()
        ]
        return [*paths, self._path] if self._fd >= 0 else paths

    def has_room(self) -> bool:
        """Whether a new request could be begun now."""
        try:
            self._make_room(CLOSE_BYTES, opening=True)
        except JournalFailed:
            return False
        return True

    def append(self, *entries: Entry, opening: bool = False) -> None:
        """Writes entries as one. `opening` ones begin something new and leave the room kept for others alone.

        Raises JournalFailed; then nothing of them is in the file.
        """
        self._write(b"".join([frame(entry) for entry in entries]), opening=opening)

    def append_closed(self, closed: ClosedEntry, *following: Entry) -> None:
        """A closed entry, and what follows it in the same write. Raises JournalFailed."""
        data = frame_closed(closed)
        if following:
            data += b"".join([frame(entry) for entry in following])
        self._write(data)
        self.last[closed.team_id] = closed.seq
        if self._sync == "each":
            self._sync_now()
        if self.listener is not None:
            self.listener(self, closed)

    def note_shipped(self, team_id: str, seq: int) -> None:
        """The store has everything up to `seq`. Noted as a help for whoever adopts this journal; losing the note costs
        one more question to the store."""
        self.shipped[team_id] = seq
        try:
            self.append(Ship(team_id, seq), opening=True)
        except JournalFailed:
            log.debug("no room to note what was shipped")

    def synced(self) -> Awaitable[None] | None:
        """What a last byte must wait for before it goes out; None where the mode waits for nothing."""
        if self._sync != "group":
            return None
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._schedule_sync()
        return waiter

    def acknowledged(self) -> list[Sealed]:
        """Sealed segments in the journal's own folder whose every entry the store has, oldest first."""
        found = []
        for sealed in self.sealed:
            if any(self.shipped.get(team_id, 0) < seq for team_id, seq in sealed.last.items()):
                break
            if sealed.path.suffix != ARCHIVED_SUFFIX:
                found.append(sealed)
        return found

    def moved(self, sealed: Sealed, path: Path) -> None:
        """A sealed segment is found elsewhere from now on."""
        self.sealed[self.sealed.index(sealed)] = replace(sealed, path=path)

    def release(self) -> None:
        """Lets go of a folder that needs no more syncs."""
        if self._sync_due is not None:
            self._sync_due.cancel()
            self._sync_due = None
        if self._fd >= 0:
            self._seal()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def aclose(self) -> None:
        """Forces what was written to disk and lets go of the folder."""
        if self._sync_due is not None:
            self._sync_due.cancel()
            self._sync_due = None
        if self._syncing is not None:
            await asyncio.wait([self._syncing])
        if self._fd >= 0 and self._sync != "off":
            await asyncio.to_thread(self._sync_now)
        self._release_waiting()
        self.release()

    def _write(self, data: bytes, *, opening: bool = False) -> None:
        self._make_room(len(data), opening)
        try:
            written = os.pwrite(self._fd, data, self._end)
        except OSError as error:
            self._cut_back()
            raise self._failed(f"the journal cannot be written: {error.strerror}") from error
        if written != len(data):
            self._cut_back()
            raise self._failed("the journal's disk is full")
        self._end += written
        self.failing = False
        if self._sync == "background":
            self._schedule_sync()

    def _make_room(self, size: int, opening: bool) -> None:
        if self._lock < 0:
            raise self._failed("the journal was let go of")
        if self._fd < 0 or self._end + size > SEGMENT_BYTES:
            try:
                self._next_segment()
            except OSError as error:
                raise self._failed(f"the journal cannot go on: {error.strerror}") from error
        wanted = self._end + size + (CLOSE_BYTES * (self.requests_open + 1) if opening else 0)
        if wanted <= self._allocated:
            return
        try:
            self._allocate(wanted)
        except OSError as error:
            if opening:
                raise self._failed(f"the journal's disk has no room: {error.strerror}") from error
            # A close may use whatever is left; the write itself tells whether it fits.

    def _allocate(self, wanted: int) -> None:
        size = max(ALLOCATE_BYTES, wanted - self._allocated)
        try:
            os.posix_fallocate(self._fd, self._allocated, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
        self._allocated += size

    def _cut_back(self) -> None:
        """Back to the last whole entry, or on to a new segment where that fails too."""
        try:
            os.ftruncate(self._fd, self._end)
            self._allocated = self._end
        except OSError:
            # The torn end stays; readers stop at it, and what follows goes into the next segment.
            self._leave_segment()

    def _next_segment(self) -> None:
        if self._fd >= 0:
            self._seal()
        path = self.folder / f"{self._number + 1}.log"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._number += 1
        self._path = path
        first = frame(Open(self.instance, self._clock_ms(), FORMAT))
        self._end = self._allocated = 0
        try:
            self._allocate(ALLOCATE_BYTES)
            self._end = os.pwrite(self._fd, first, 0)
        except OSError:
            os.close(self._fd)
            self._fd = -1
            path.unlink(missing_ok=True)
            raise

    def _seal(self) -> None:
        try:
            os.ftruncate(self._fd, self._end)
        except OSError as error:
            log.warning("a journal segment keeps its allocated end: %s", error.strerror)
        self._leave_segment()

    def _leave_segment(self) -> None:
        os.close(self._fd)
        self._fd = -1
        self.sealed.append(Sealed(self._path, time.time(), dict(self.last)))

    def _failed(self, message: str) -> JournalFailed:
        self.failures += 1
        if not self.failing:
            log.error("%s", message)
        self.failing = True
        return JournalFailed(message)

    def _schedule_sync(self) -> None:
        if self._sync_due is None and self._syncing is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # a command-line use without a loop: `aclose` forces it to disk
            delay_s = GROUP_SYNC_S if self._sync == "group" else BACKGROUND_SYNC_S
            self._sync_due = loop.call_later(delay_s, self._start_sync, loop)

    def _start_sync(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sync_due = None
        if self._fd < 0:
            self._release_waiting()
            return
        waiting, self._waiting = self._waiting, []
        # A descriptor of its own, so that a segment sealed meanwhile cannot pull it away.
        fd = os.dup(self._fd)
        self._syncing = loop.run_in_executor(None, _sync_and_close, fd)
        self._syncing.add_done_callback(lambda done: self._end_sync(done, waiting))

    def _end_sync(self, done: asyncio.Future[None], waiting: list[asyncio.Future[None]]) -> None:
        self._syncing = None
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._sync_failed(error)
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
        if self._waiting:
            self._schedule_sync()

    def _sync_failed(self, error: BaseException) -> None:
        # After a failed sync the kernel may have dropped the pages: nothing more goes into this file.
        self._failed(f"the journal could not be forced to disk: {error}")
        try:
            self._next_segment()
        except OSError as failure:
            self._failed(f"the journal cannot go on: {failure.strerror}")

    def _sync_now(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._sync_failed(error)

    def _release_waiting(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()


def _sync_and_close(fd: int) -> None:
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)
