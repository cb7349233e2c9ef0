"""Why an account at a provider, or one model there, must not be asked: it wants silence, or it refused our key."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.routing.health_board import AccountPost, BoardClock, OfferPost


class Exclusion:
    """Times in `_s` are monotonic seconds, those in `_ms` the same in the board's: as they are told to others, which
    must not change on the way."""

    __slots__ = ("_own_barred_ms", "_quiet_until_ms", "barred", "quiet_until_s")

    def __init__(self) -> None:
        self.barred = False
        self.quiet_until_s = 0.0
        self._own_barred_ms = 0
        self._quiet_until_ms = 0

    def cool(self, until_s: float, clock: BoardClock) -> None:
        """It asked for silence until then."""
        if until_s > self.quiet_until_s:
            self.quiet_until_s = until_s
            self._quiet_until_ms = clock.ms(until_s)

    def bar(self, now_s: float, clock: BoardClock) -> bool:
        """It refused our key. False where that was known."""
        if self.barred:
            return False
        self.barred = True
        self._own_barred_ms = clock.ms(now_s)
        return True

    def unbar(self) -> None:
        self.barred = False
        self._own_barred_ms = 0

    def told(self, now_s: float) -> tuple[int, int]:
        """For the others: until when it is to be left alone, and since when it refuses our key. 0: not."""
        return self._quiet_until_ms if self.quiet_until_s > now_s else 0, self._own_barred_ms

    def heed(
        self, said: Sequence[OfferPost] | Sequence[AccountPost], now_s: float, clock: BoardClock, loaded_ms: int
    ) -> None:
        """What the others were told. A bar counts if it is later than the table; of silences the longest."""
        self.barred = self._own_barred_ms > 0 or any(post.barred_ms > loaded_ms for post in said)
        for post in said:
            if post.quiet_until_ms > self._quiet_until_ms:
                self._quiet_until_ms = post.quiet_until_ms
                self.quiet_until_s = max(self.quiet_until_s, clock.s(post.quiet_until_ms, now_s))
