"""How each offer fares, from traffic alone: a breaker, running averages, what is in flight, who asked for silence.

The breaker of an offer is a table of transitions:

    state      event                                         state after
    ---------  --------------------------------------------  -----------
    closed     failures reach the threshold in the window     open
    open       `open_s` have passed                           half open
    open       chosen though not ready (nobody else is left)  half open, its probe taken
    half open  the probe is taken                             half open, nobody else admitted
    half open  the probe succeeds                             closed, window forgotten
    half open  the probe fails                                open again
    half open  the probe, a stream, gives its first content   half open, free again
    half open  the probe is given back (its caller left)      half open, free again

A window is `breaker.window_s` of one-second buckets. Times are monotonic seconds, given by the caller; this module
asks no clock. `Retry-After` silences a provider's account; a model that is being loaded only itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from gateway.config.catalog import Breaker, Offer, ProviderEntry

OfferKey = tuple[str, str]
"""Provider name and provider model id."""

SMOOTHING: Final = 0.2
"""Weight of the newest observation in a running average."""


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Seen(NamedTuple):
    """What routing may know of one offer at one moment. Values only, so that a decision can be recomputed; kept as an
    array, so fields may only ever be appended."""

    state: str = State.CLOSED.value
    ready: bool = True
    """It may be asked now: closed, or half open with its probe free."""
    probe_free: bool = True
    """Where it is not closed: nobody is probing it."""
    ready_in_s: float = 0.0
    cooling_s: float = 0.0
    """The account asked for silence for this long."""
    in_flight: int = 0
    first_content_ms: float | None = None
    tokens_per_s: float | None = None
    has_room: bool = True
    """Fewer requests are under way at its account than the table allows."""


UNSEEN: Final = Seen()
"""Of an offer that nobody has asked yet."""


class _OfferHealth:
    __slots__ = (
        "attempts",
        "buckets",
        "cooling_until_s",
        "failures",
        "first_content_ms",
        "in_flight",
        "opened_at_s",
        "probing",
        "state",
        "tokens_per_s",
    )

    def __init__(self) -> None:
        self.state = State.CLOSED
        self.opened_at_s = 0.0
        self.cooling_until_s = 0.0
        self.probing = False
        self.in_flight = 0
        self.buckets: deque[list[int]] = deque()  # [second, attempts, failures]
        self.attempts = 0
        self.failures = 0
        self.first_content_ms: float | None = None
        self.tokens_per_s: float | None = None

    def bucket(self, now_s: float, window_s: float) -> list[int]:
        buckets = self.buckets
        second = int(now_s)
        while buckets and buckets[0][0] <= second - window_s:
            _, attempts, failures = buckets.popleft()
            self.attempts -= attempts
            self.failures -= failures
        if not buckets or buckets[-1][0] != second:
            buckets.append([second, 0, 0])
        return buckets[-1]

    def forget(self) -> None:
        self.buckets.clear()
        self.attempts = self.failures = 0


class HealthBook:
    """One worker's view. Single-threaded, like the loop that owns it."""

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.on_room: Callable[[str], object] = _nobody_waits
        """Told the account at which an attempt has ended."""
        self._offers: dict[OfferKey, _OfferHealth] = {}
        self._cooling_until_s: dict[str, float] = {}
        self._accounts_in_flight: dict[str, int] = {}

    def look(self, offer: Offer, now_s: float) -> Seen:
        health = self._offers.get((offer.provider.name, offer.provider_model))
        cooling_s = max(0.0, self._cooling_until_s.get(offer.provider.name, 0.0) - now_s)
        has_room = offer.provider.max_concurrency is None or self.has_room(offer.provider)
        if health is None:
            return Seen(cooling_s=cooling_s, has_room=has_room) if cooling_s or not has_room else UNSEEN
        if health.cooling_until_s - now_s > cooling_s:
            cooling_s = health.cooling_until_s - now_s
        ready_in_s = 0.0
        if health.state is State.OPEN:
            ready_in_s = health.opened_at_s + self.breaker.open_s - now_s
            if ready_in_s <= 0:
                health.state = State.HALF_OPEN
                health.probing = False
                ready_in_s = 0.0
        closed = health.state is State.CLOSED
        return Seen(
            health.state.value,
            closed or (health.state is State.HALF_OPEN and not health.probing),
            closed or not health.probing,
            ready_in_s,
            cooling_s,
            health.in_flight,
            health.first_content_ms,
            health.tokens_per_s,
            has_room,
        )

    def in_flight(self, provider: str) -> int:
        """Attempts under way at one account."""
        return self._accounts_in_flight.get(provider, 0)

    def has_room(self, provider: ProviderEntry) -> bool:
        """Whether one more attempt may be under way at this account."""
        bound = provider.max_concurrency
        return bound is None or self._accounts_in_flight.get(provider.name, 0) < bound

    def hold_room(self, provider: str) -> None:
        """Keeps one attempt's room at an account for somebody who is about to begin it."""
        self._accounts_in_flight[provider] = self._accounts_in_flight.get(provider, 0) + 1

    def free_room(self, provider: str) -> None:
        """What was held is begun now, or not wanted any more."""
        self._accounts_in_flight[provider] -= 1

    def begin(self, offer: Offer) -> None:
        """An attempt is about to be made. On an offer that is not closed it is the probe."""
        health = self._of(offer)
        health.in_flight += 1
        self.hold_room(offer.provider.name)
        if health.state is not State.CLOSED:
            health.state = State.HALF_OPEN
            health.probing = True

    def answering(self, offer: Offer) -> None:
        """A stream has given its first content. Its end may be minutes away: who comes meanwhile may probe, too."""
        self._of(offer).probing = False

    def _end(self, offer: Offer) -> _OfferHealth:
        health = self._of(offer)
        health.in_flight -= 1
        self.free_room(offer.provider.name)
        self.on_room(offer.provider.name)
        return health

    def abandon(self, offer: Offer) -> None:
        """The attempt ended without telling anything about the provider: its caller left."""
        self._end(offer).probing = False

    def succeed(
        self, offer: Offer, now_s: float, *, first_content_ms: float | None = None, tokens_per_s: float | None = None
    ) -> None:
        health = self._end(offer)
        if health.state is not State.CLOSED:
            health.state = State.CLOSED
            health.probing = False
            health.forget()
        health.bucket(now_s, self.breaker.window_s)[1] += 1
        health.attempts += 1
        health.first_content_ms = _smooth(health.first_content_ms, first_content_ms)
        health.tokens_per_s = _smooth(health.tokens_per_s, tokens_per_s)

    def fail(self, offer: Offer, now_s: float, *, blames: bool) -> None:
        health = self._end(offer)
        if not blames:
            health.probing = False
            return
        if health.state is not State.CLOSED:
            health.state, health.opened_at_s, health.probing = State.OPEN, now_s, False
            return
        bucket = health.bucket(now_s, self.breaker.window_s)
        bucket[1] += 1
        bucket[2] += 1
        health.attempts += 1
        health.failures += 1
        enough = health.failures >= self.breaker.failures
        if enough and health.failures * 100 >= health.attempts * self.breaker.percent:
            health.state, health.opened_at_s = State.OPEN, now_s

    def cool(self, provider: str, until_s: float) -> None:
        """The account asked for silence until then."""
        self._cooling_until_s[provider] = max(until_s, self._cooling_until_s.get(provider, 0.0))

    def cool_offer(self, offer: Offer, until_s: float) -> None:
        """Only this model asked for silence: it is being loaded."""
        health = self._of(offer)
        health.cooling_until_s = max(until_s, health.cooling_until_s)

    def _of(self, offer: Offer) -> _OfferHealth:
        key = (offer.provider.name, offer.provider_model)
        health = self._offers.get(key)
        if health is None:
            health = self._offers[key] = _OfferHealth()
        return health


def _nobody_waits(provider: str) -> None:
    pass


def _smooth(average: float | None, value: float | None) -> float | None:
    if value is None:
        return average
    return value if average is None else average + SMOOTHING * (value - average)
