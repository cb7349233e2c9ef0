"""The lock of a journal's folder: its writer holds it for as long as it lives, and whoever adopts the journal after it.

The lock file says who adopted it, for people who look; nothing depends on that.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from gateway.journal.reader import LOCK_NAME, SHIPPED_NAME


def take_lock(folder: Path, *, shipped: bool = False) -> int | None:
    """The lock of a journal nobody has, as a descriptor; None where it is taken or the folder was moved away. With
    `shipped` only that of a journal that was wholly shipped, else only that of one that was not."""
    path = folder / LOCK_NAME
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The folder may have been removed, or replaced, between the opening and the lock.
        held, named = os.fstat(lock), path.stat()
        if (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino) and (folder / SHIPPED_NAME).exists() == shipped:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def note_adopter(lock: int, instance: str) -> None:
    """Writes the adopter's name into a lock that was taken. Raises OSError."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, instance.encode(), 0)


def holder_of(folder: Path) -> str | None:
    """The instance that holds a journal's lock: its own name while its worker lives, an adopter's after that; None
    where nobody does."""
    try:
        lock = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Shared and for a moment: at worst somebody who would adopt it now does so a round later.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(lock, 256, 0).decode(errors="replace") or folder.name
    finally:
        os.close(lock)
    return None
