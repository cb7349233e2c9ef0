"""An event loop whose clock stands still while anybody has something to do, and then jumps to the next timer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

BEGIN_S: Final = 1_000.0
"""Monotonic seconds at the start: later than any window is long."""


class FrozenLoop(asyncio.BaseEventLoop):
    """Knows no files and no threads: what a simulation waits for are timers and each other."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = BEGIN_S
        self._selector = self  # whom the base class asks to sleep until its next timer

    def time(self) -> float:
        return self._now_s

    def select(self, timeout_s: float | None) -> list[object]:
        if timeout_s is None:
            raise RuntimeError("everybody waits, and no timer is set")
        self._now_s += timeout_s
        return []

    def _process_events(self, events: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run_frozen(story: Coroutine[Any, Any, T]) -> T:
    """The result of a story that takes no time."""
    loop = FrozenLoop()
    try:
        return loop.run_until_complete(story)
    finally:
        loop.close()
