"""How one offer fares: its breaker, the window that trips it, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.config.catalog import Breaker
from gateway.routing.breaker import PROBES_AFTER_RELAPSE, Event, State, after, is_relapse, trips, wait_s
from gateway.routing.exclusion import Exclusion
from gateway.routing.health_board import ALONE, BoardClock, OfferPost, Standing, company, later
from gateway.routing.window import Window

SMOOTHING: Final = 0.2
"""Weight of the newest observation in a running average."""
MEASURED_S: Final = 300.0
"""After this long a measurement says nothing any more."""


class OfferHealth(Exclusion):
    """Times as in Exclusion."""

    __slots__ = (
        "_first_content_ms",
        "_measured_s",
        "_opened_by",
        "_passed",
        "_probe_until_s",
        "_probes",
        "_ready_ms",
        "_since_ms",
        "_tokens",
        "_window",
        "_writing_s",
        "company",
        "in_flight",
        "ready_s",
        "state",
    )

    def __init__(self) -> None:
        super().__init__()
        self.state = State.CLOSED
        self.ready_s = 0.0
        self.in_flight = 0
        self.company = ALONE
        self._since_ms = 0
        self._ready_ms = 0
        self._probe_until_s = 0.0
        self._opened_by = (0, 0)  # failures and attempts of all workers
        self._probes = 1
        self._passed = 0
        self._window = Window()
        self._measured_s = -MEASURED_S
        self._first_content_ms: float | None = None
        self._tokens = 0.0
        self._writing_s = 0.0

    # The breaker.

    @property
    def probe_free(self) -> bool:
        return self.state is not State.PROBING and not self.company.probing

    @property
    def on_trial(self) -> bool:
        """Some good probes were made, and more are wanted."""
        return self.state is not State.CLOSED and self._passed > 0

    def wait(self, now_s: float) -> None:
        """What time alone changes."""
        due_s = self._probe_until_s if self.state is State.PROBING else self.ready_s
        if now_s >= due_s:
            self.state = after(self.state, Event.WAITED)

    def take(self, now_s: float, breaker: Breaker) -> bool:
        """An attempt begins. True where it is the probe."""
        if self.state is State.CLOSED:
            return False
        self.wait(now_s)
        if self.state is State.PROBING:
            return False
        self.state = after(self.state, Event.TAKEN)
        self._probe_until_s = now_s + breaker.open_s
        return True

    def give_back(self) -> None:
        self.state = after(self.state, Event.GIVEN_BACK)

    def pass_probe(self, now_s: float, clock: BoardClock) -> None:
        """The probe was answered."""
        if self.state is State.CLOSED:
            return
        self._passed += 1
        if self._passed < self._probes:
            self.state = after(self.state, Event.PASSED)
            self.ready_s = now_s
            self._ready_ms = clock.ms(now_s)
        else:
            self.state = after(self.state, Event.ANSWERED)
            self._window.clear()
        self._date(now_s, clock)

    def fail_probe(self, now_s: float, breaker: Breaker, clock: BoardClock) -> None:
        self._open(Event.FAILED, now_s, breaker, clock)

    def _trip(self, now_s: float, breaker: Breaker, clock: BoardClock) -> None:
        # What a closed breaker's last change was is a recovery; 0 where there was none.
        relapsed = is_relapse((clock.ms(now_s) - self._since_ms) / 1000, breaker) if self._since_ms else False
        self._probes = PROBES_AFTER_RELAPSE if relapsed else 1
        self._open(Event.TRIPPED, now_s, breaker, clock)

    def _open(self, event: Event, now_s: float, breaker: Breaker, clock: BoardClock) -> None:
        self.state = after(self.state, event)
        self._passed = 0
        self.ready_s = now_s + wait_s(self._probes, breaker)
        self._ready_ms = clock.ms(self.ready_s)
        self._window.clear()
        self._date(now_s, clock)

    def count(self, now_s: float, breaker: Breaker) -> None:
        """An attempt ended well."""
        if self.state is State.CLOSED:
            self._window.add(now_s, breaker.window_s, counted=1)

    def count_failure(self, now_s: float, breaker: Breaker, clock: BoardClock) -> bool:
        """An attempt failed, and it is the provider's fault. True where the others should hear of it at once."""
        window, others = self._window, self.company
        window.add(now_s, breaker.window_s, counted=1, marked=1)
        failures, attempts = window.marked + others.failures, window.counted + others.attempts
        if trips(window.marked, window.counted, breaker) or trips(failures, attempts, breaker):
            self._opened_by = (failures, attempts)
            self._trip(now_s, breaker, clock)
            return True
        # Where there are more and it is closed still, it is busy and mostly well: that can wait.
        return window.marked <= breaker.failures

    def error_rate(self, now_s: float, breaker: Breaker) -> float:
        """Failures among the window's attempts."""
        window = self._window
        if not window.marked:
            return 0.0
        window.slide(now_s, breaker.window_s)
        return window.marked / window.counted if window.counted else 0.0

    # Measurements.

    def measure(self, now_s: float, first_content_ms: float | None, tokens: int, took_s: float) -> None:
        if now_s - self._measured_s >= MEASURED_S:
            self._first_content_ms, self._tokens, self._writing_s = None, 0.0, 0.0
        self._measured_s = now_s
        if first_content_ms is not None:
            average = self._first_content_ms
            step = 0.0 if average is None else SMOOTHING * (first_content_ms - average)
            self._first_content_ms = first_content_ms if average is None else average + step
        if tokens > 0 and took_s > 0:
            # The ratio of two averages: a long answer says more of a provider's speed than a short one.
            self._tokens += SMOOTHING * (tokens - self._tokens)
            self._writing_s += SMOOTHING * (took_s - self._writing_s)

    def measured(self, now_s: float) -> tuple[float | None, float | None]:
        """First content in milliseconds and tokens per second: as measured here, else by the others."""
        first_content_ms, tokens_per_s = self._own_measured(now_s)
        others = self.company
        return (
            others.first_content_ms if first_content_ms is None else first_content_ms,
            others.tokens_per_s if tokens_per_s is None else tokens_per_s,
        )

    def _own_measured(self, now_s: float) -> tuple[float | None, float | None]:
        if now_s - self._measured_s >= MEASURED_S:
            return None, None
        return self._first_content_ms, self._tokens / self._writing_s if self._writing_s else None

    # What workers tell each other.

    def post(self, now_s: float, breaker: Breaker) -> OfferPost:
        return OfferPost(
            self._standing(now_s, breaker),
            self.state is State.PROBING,
            *self.told(now_s),
            *self._own_measured(now_s),
        )

    def hear(
        self,
        said: Sequence[OfferPost],
        now_s: float,
        breaker: Breaker,
        clock: BoardClock,
        *,
        loaded_ms: int,
        stagger_s: float,
    ) -> None:
        """What the others say of it."""
        own = self._standing(now_s, breaker)
        heard = later(own, [post.standing for post in said], breaker)
        if heard is not own:
            own = heard
            self._follow(heard, clock.s(heard.ready_ms, now_s), now_s, breaker, stagger_s)
        self.company = company(own, said) if said else ALONE
        self.heed(said, now_s, clock, loaded_ms)

    def _standing(self, now_s: float, breaker: Breaker) -> Standing:
        if self.state is not State.CLOSED:
            return Standing(self._since_ms, True, self._ready_ms, *self._opened_by, self._probes, self._passed)
        self._window.slide(now_s, breaker.window_s)
        return Standing(self._since_ms, False, 0, self._window.marked, self._window.counted)

    def _follow(self, heard: Standing, ready_s: float, now_s: float, breaker: Breaker, stagger_s: float) -> None:
        self._since_ms = heard.since_ms
        self._window.clear()
        if heard.is_open:
            self.state = after(self.state, Event.HEARD_OPEN)
            self._ready_ms = heard.ready_ms
            self.ready_s = min(ready_s, now_s + breaker.open_s) + stagger_s
            self._opened_by = (heard.failures, heard.attempts)
            self._probes, self._passed = heard.probes, heard.passed
        else:
            self.state = after(self.state, Event.HEARD_CLOSED)

    def _date(self, now_s: float, clock: BoardClock) -> None:
        """Dates a change, after all changes that were heard of, whatever the clocks say."""
        self._since_ms = max(clock.ms(now_s), self._since_ms + 1)
        self.company = ALONE
