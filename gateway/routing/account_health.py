"""How one account at a provider fares: whether it asked for silence, is near its rate limit, or refused our key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.routing.exclusion import Exclusion
from gateway.routing.health_board import AccountPost, BoardClock
from providers.rate_limits import RateLimits

NEAR_LIMIT_SHARE: Final = 0.05
"""An account with less than this left of its rate limit is spared."""
AMPLE_SHARE: Final = 0.2
AMPLE_S: Final = 0.05
"""While more than a fifth is left, or nothing is said, an account's headers are read this often."""
RESET_S: Final = 5.0
"""Where a provider does not say when its limit is whole again."""
SPARED_S_MAX: Final = 60.0
"""A reset may be hours away; an account is looked at again before."""


class AccountHealth(Exclusion):
    """Times as in Exclusion."""

    __slots__ = ("_limits_read_ms", "_spare_until_ms", "limits_due_s", "spare_until_s")

    def __init__(self) -> None:
        super().__init__()
        self.spare_until_s = 0.0
        self.limits_due_s = 0.0
        self._spare_until_ms = 0
        self._limits_read_ms = 0

    def read(self, limits: RateLimits | None, now_s: float, clock: BoardClock) -> bool:
        """What the headers of an answer said. True where it is to be spared from now on."""
        tightest = None if limits is None else limits.tightest()
        if tightest is None or tightest[0] > AMPLE_SHARE:
            self.limits_due_s = now_s + AMPLE_S
        if tightest is None:
            return False
        share, reset_s = tightest
        was_spared = self.spare_until_s > now_s
        is_near = share < NEAR_LIMIT_SHARE
        self._limits_read_ms = clock.ms(now_s)
        self.spare_until_s = now_s + min(RESET_S if reset_s is None else reset_s, SPARED_S_MAX) if is_near else 0.0
        self._spare_until_ms = clock.ms(self.spare_until_s) if is_near else 0
        return is_near and not was_spared

    def post(self, now_s: float) -> AccountPost:
        return AccountPost(*self.told(now_s), self._limits_read_ms, self._spare_until_ms)

    def hear(self, told: Sequence[AccountPost], now_s: float, clock: BoardClock, loaded_ms: int) -> None:
        """What the others say of it; of limits the newest reading counts."""
        self.heed(told, now_s, clock, loaded_ms)
        for post in told:
            if post.limits_read_ms > self._limits_read_ms:
                self._limits_read_ms, self._spare_until_ms = post.limits_read_ms, post.spare_until_ms
                self.spare_until_s = min(clock.s(post.spare_until_ms, now_s), now_s + SPARED_S_MAX)
