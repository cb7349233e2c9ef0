"""Retries are paid for: a dying provider must not double the load that its neighbours carry.

Over the last minute, same-offer retries and second fallbacks may be at most a percentage of the requests, and never
fewer than a floor, so that a quiet gateway may retry at all. The first move to a healthy candidate is free.
"""

from __future__ import annotations

from typing import Final

from gateway.routing.window import Window

WINDOW_S: Final = 60
FLOOR: Final = 10


class RetryBudget:
    """Counts requests and paid retries in one-second buckets. Times are monotonic seconds, given by the caller."""

    def __init__(self, percent: int) -> None:
        self.percent = percent
        self._window = Window()  # counted: requests; marked: retries

    def request(self, now_s: float) -> None:
        """A request has come."""
        self._window.add(now_s, WINDOW_S, counted=1)

    def allows(self, now_s: float) -> bool:
        """Whether one more retry may be made."""
        self._window.slide(now_s, WINDOW_S)
        return self._window.marked < max(FLOOR, self._window.counted * self.percent // 100)

    def spend(self, now_s: float) -> None:
        self._window.add(now_s, WINDOW_S, marked=1)
