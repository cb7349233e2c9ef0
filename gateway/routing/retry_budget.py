"""Retries are paid for: a dying provider must not double the load that its neighbours carry.

Over the last minute, same-offer retries and second fallbacks may be at most a percentage of the requests, and never
fewer than a floor, so that a quiet gateway may retry at all. The first move to a healthy candidate is free.
"""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_S: Final = 60
FLOOR: Final = 10


class RetryBudget:
    """Counts requests and paid retries in one-second buckets. Times are monotonic seconds, given by the caller."""

    def __init__(self, percent: int) -> None:
        self.percent = percent
        self._buckets: deque[list[int]] = deque()  # [second, requests, retries]
        self._requests = 0
        self._retries = 0

    def request(self, now_s: float) -> None:
        """A request has come."""
        self._bucket(now_s)[1] += 1
        self._requests += 1

    def allows(self, now_s: float) -> bool:
        """Whether one more retry may be made."""
        self._bucket(now_s)
        return self._retries < max(FLOOR, self._requests * self.percent // 100)

    def spend(self, now_s: float) -> None:
        self._bucket(now_s)[2] += 1
        self._retries += 1

    def _bucket(self, now_s: float) -> list[int]:
        second = int(now_s)
        buckets = self._buckets
        while buckets and buckets[0][0] <= second - WINDOW_S:
            _, requests, retries = buckets.popleft()
            self._requests -= requests
            self._retries -= retries
        if not buckets or buckets[-1][0] != second:
            buckets.append([second, 0, 0])
        return buckets[-1]
