"""A sliding minute of one-second buckets: how much was taken, and when room comes back. Pure.

61 seconds are kept, the current one included, and the oldest counts in full: never more than the limit in any 60
seconds. `redis/admit.lua` does the same on the server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SECONDS: Final = 61


@dataclass(slots=True)
class RateWindow:
    """`second` is the newest that was looked at; buckets lie at `second % 61`."""

    second: int = 0
    requests: list[int] = field(default_factory=lambda: [0] * SECONDS)
    tokens: list[int] = field(default_factory=lambda: [0] * SECONDS)

    def advance(self, now_s: int) -> None:
        """Forgets what is older than the window. A clock that went back changes nothing."""
        for second in range(max(self.second + 1, now_s - SECONDS + 1), now_s + 1):
            self.requests[second % SECONDS] = self.tokens[second % SECONDS] = 0
        self.second = max(self.second, now_s)

    def take(self, requests: int, tokens: int) -> None:
        self.requests[self.second % SECONDS] += requests
        self.tokens[self.second % SECONDS] += tokens

    def correct(self, taken_s: int, tokens: int) -> None:
        """Changes what was taken in an earlier second, while that is still in the window."""
        if self.second - SECONDS < taken_s <= self.second:
            self.tokens[taken_s % SECONDS] = max(0, self.tokens[taken_s % SECONDS] + tokens)


def used(buckets: list[int]) -> int:
    return sum(buckets)


def wait_s(buckets: list[int], second: int, limit: int, wanted: int) -> int:
    """Seconds until `wanted` more fit under `limit`; 60 where it is more than the limit itself."""
    free = limit - sum(buckets)
    if free >= wanted:
        return 0
    for age in range(SECONDS - 1, -1, -1):
        free += buckets[(second - age) % SECONDS]
        if free >= wanted:
            return SECONDS - age
    return SECONDS - 1


def reset_s(buckets: list[int], second: int) -> int:
    """Seconds until all of it is free again."""
    for age in range(SECONDS):
        if buckets[(second - age) % SECONDS]:
            return SECONDS - age
    return 0
