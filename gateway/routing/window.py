"""Two counts over the last seconds, in buckets of one second. Times are monotonic seconds, given by the caller."""

from __future__ import annotations

from collections import deque


class Window:
    """How many were `counted`, and how many were `marked`, since `window_s` ago. What is too old falls out with the
    next look."""

    __slots__ = ("_buckets", "counted", "marked")

    def __init__(self) -> None:
        self._buckets: deque[list[int]] = deque()  # [second, counted, marked]
        self.counted = 0
        self.marked = 0

    def add(self, now_s: float, window_s: float, *, counted: int = 0, marked: int = 0) -> None:
        self.slide(now_s, window_s)
        buckets = self._buckets
        second = int(now_s)
        if not buckets or buckets[-1][0] != second:
            buckets.append([second, 0, 0])
        bucket = buckets[-1]
        bucket[1] += counted
        bucket[2] += marked
        self.counted += counted
        self.marked += marked

    def slide(self, now_s: float, window_s: float) -> None:
        """Drops what is too old."""
        buckets = self._buckets
        oldest = int(now_s) - window_s
        while buckets and buckets[0][0] <= oldest:
            _, counted, marked = buckets.popleft()
            self.counted -= counted
            self.marked -= marked

    def clear(self) -> None:
        self._buckets.clear()
        self.counted = self.marked = 0
