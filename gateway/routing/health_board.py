"""What workers tell each other of providers, and what follows from what the others say. Pure.

A post is all that one worker has to say; it replaces that worker's post before. Times in it are Unix milliseconds by
the board's clock. Of two words about a breaker the later one counts, and whoever changes one dates the change after
all that it had heard: a stale `open` never undoes a recovery, in whatever order posts arrive. A worker whose own
attempts say otherwise does not follow another one into an open breaker, so that a host whose network broke does not
take every provider from everybody.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.config.catalog import Breaker
from gateway.routing.breaker import prevails
from providers.rate_limits import RETRY_AFTER_MAX_S


class Standing(NamedTuple):
    """How a breaker stands. The counts are those of its window where it is closed; where it is open, those of all
    workers together when it opened."""

    since_ms: int = 0
    """The last change; 0: there was none yet."""
    is_open: bool = False
    ready_ms: int = 0
    """When an open one may be probed."""
    failures: int = 0
    attempts: int = 0
    probes: int = 1
    """How many good ones in a row close it."""
    passed: int = 0
    """How many of them there were."""


class OfferPost(NamedTuple):
    """What a worker says of one offer. 0 stands for never, None for not measured."""

    standing: Standing = Standing()
    probing: bool = False
    quiet_until_ms: int = 0
    """The model asked for silence: it is being loaded."""
    barred_ms: int = 0
    """Since when it refuses our key."""
    first_content_ms: float | None = None
    tokens_per_s: float | None = None


class AccountPost(NamedTuple):
    """What a worker says of one account at a provider."""

    quiet_until_ms: int = 0
    barred_ms: int = 0
    limits_read_ms: int = 0
    spare_until_ms: int = 0
    """It was near its rate limit when its headers were read, and will be until then."""


class Post(NamedTuple):
    offers: dict[str, OfferPost]
    """By `<provider>/<provider model>`."""
    accounts: dict[str, AccountPost]


class Company(NamedTuple):
    """What the others' posts come to for one offer: counts that belong to the same time as one's own, and means."""

    failures: int = 0
    attempts: int = 0
    probing: bool = False
    first_content_ms: float | None = None
    tokens_per_s: float | None = None


ALONE: Final = Company()


class BoardClock:
    """Monotonic seconds of this worker to Unix milliseconds of the board, and back. `zero_ms` is the board's time at
    the monotonic second 0; it is set anew with each look at the board."""

    __slots__ = ("zero_ms",)

    def __init__(self, zero_ms: float = 0.0) -> None:
        self.zero_ms = zero_ms

    def ms(self, at_s: float) -> int:
        """Rounded up: who hears of a silence or an open breaker must not be early."""
        return math.ceil(self.zero_ms + at_s * 1000)

    def s(self, at_ms: int, now_s: float) -> float:
        """Never so late that a wrong clock elsewhere takes a provider out for good."""
        return min((at_ms - self.zero_ms) / 1000, now_s + RETRY_AFTER_MAX_S)


def later(own: Standing, others: Sequence[Standing], breaker: Breaker) -> Standing:
    """How a breaker stands once the others were heard."""
    heard = max(others, default=own)
    if _dated(heard) <= _dated(own):
        return own
    if heard.is_open and not own.is_open:
        agreed = prevails(heard.failures + own.failures, heard.attempts + own.attempts, breaker)
        return heard if agreed else own
    return heard


def _dated(standing: Standing) -> tuple[int, bool]:
    return standing[:2]


def company(own: Standing, said: Sequence[OfferPost]) -> Company:
    """What `said` adds to what stands here after `later`."""
    failures = attempts = 0
    probing = False
    newer: Standing | None = None
    for post in said:
        standing = post.standing
        probing = probing or post.probing
        if own.is_open:
            continue
        if standing.is_open:
            # Not followed, yet not forgotten: with some failures of one's own it will be.
            if standing.since_ms > own.since_ms and (newer is None or standing > newer):
                newer = standing
        elif standing.since_ms == own.since_ms:
            failures += standing.failures
            attempts += standing.attempts
    if newer is not None:
        failures += newer.failures
        attempts += newer.attempts
    return Company(
        failures,
        attempts,
        probing,
        _mean([post.first_content_ms for post in said]),
        _mean([post.tokens_per_s for post in said]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
