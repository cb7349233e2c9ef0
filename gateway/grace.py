"""How limited teams go on while the store is away: each worker gives out its part of what was left.

What is left of a budget or a limit is known from the store's own answers. Of what was read at most five seconds before
the loss each worker may give out one part of as many as there are workers, for ten minutes at most, and books it here;
so all of them together give out no more than was left. Pure but for its clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.records import Refusal, Scope
from gateway.store.rates import RateWindow, wait_s

READ_WITHIN_S: Final = 5.0
GRACE_S: Final = 600.0
READINGS_MAX: Final = 10_000
UNKNOWN: Final = "unknown"
"""A reason to refuse: nobody knows what is left."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was left of a scope, by the store's word."""

    at_s: float
    scope: Scope
    left: Mapping[str, int]


@dataclass(slots=True)
class Share:
    """This worker's part of one scope. What has no limit is not looked at."""

    reading: Reading
    begun_s: float
    nano_usd: int
    requests: int
    tokens: int
    slots: int
    """How many requests may run here at a time, those counted that ran already."""
    window: RateWindow = field(default_factory=RateWindow)

    @classmethod
    def of(cls, reading: Reading, workers: int, running: int, now_s: float) -> Share:
        scope, left = reading.scope, reading.left
        requests, tokens = (scope.requests_per_minute or 0) // workers, (scope.tokens_per_minute or 0) // workers
        share = cls(
            reading=reading,
            begun_s=now_s,
            nano_usd=max(0, left.get("budget_nano_usd", 0)) // workers,
            requests=requests,
            tokens=tokens,
            slots=running + left.get("slots", 0) // workers,
        )
        # What the others have taken of the minute counts here as taken just now.
        share.window.advance(int(now_s))
        share.window.take(
            max(0, requests - left.get("requests", 0) // workers), max(0, tokens - left.get("tokens", 0) // workers)
        )
        return share

    def lacks(self, hold_nano_usd: int, tokens: int, running: int, now_s: float) -> tuple[str, float] | None:
        """The reason to refuse and when to ask again; None where there is room."""
        scope = self.reading.scope
        self.window.advance(int(now_s))
        if scope.budget_nano_usd is not None and hold_nano_usd > self.nano_usd:
            return "budget", 1.0
        if scope.requests_per_minute is not None:
            wait = wait_s(self.window.requests, self.window.second, self.requests, 1)
            if wait:
                return "requests", wait
        if scope.tokens_per_minute is not None:
            wait = wait_s(self.window.tokens, self.window.second, self.tokens, tokens)
            if wait:
                return "tokens", wait
        if scope.concurrency is not None and running >= self.slots:
            return "concurrency", 1.0
        return None


class Grace:
    """One per worker. `workers` is how many are alive, all hosts together."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.workers = 1
        self._clock_s = clock_s
        self._lost_at_s: float | None = None
        self._readings: dict[tuple[str, str], Reading] = {}
        self._shares: dict[tuple[str, str], Share] = {}
        self._taken: dict[str, tuple[int, list[Share]]] = {}

    def read(self, team_id: str, scopes: Sequence[Scope], remaining: Mapping[str, Mapping[str, int]]) -> None:
        """The store has answered for this team: its word counts, and nothing that was given out without it."""
        now_s = self._clock_s()
        for scope in scopes:
            place = (team_id, scope.id)
            self._shares.pop(place, None)
            if scope.id in remaining:
                self._readings.pop(place, None)  # the newest go last
                self._readings[place] = Reading(now_s, scope, remaining[scope.id])
        while len(self._readings) > READINGS_MAX:
            del self._readings[next(iter(self._readings))]

    def lost(self) -> None:
        """The store does not answer, as far as this worker has noticed."""
        if self._lost_at_s is None:
            self._lost_at_s = self._clock_s()

    def found(self) -> None:
        self._lost_at_s = None

    def take(
        self,
        inference_id: str,
        team_id: str,
        scopes: Sequence[Scope],
        *,
        hold_nano_usd: int,
        tokens: int,
        running: Mapping[str, int],
    ) -> Refusal | None:
        """Room in every scope or in none; None: it is taken. `running` counts this worker's requests by scope. To a
        refusal all of a budget is spent that is not this worker's to give."""
        now_s = self._clock_s()
        shares = []
        for scope in scopes:
            share = self._share(team_id, scope, running.get(scope.id, 0), now_s)
            if share is None:
                return Refusal(inference_id, 0, UNKNOWN, scope.id, 1.0)
            lacking = share.lacks(hold_nano_usd, tokens, running.get(scope.id, 0), now_s)
            if lacking is not None:
                spent = (scope.budget_nano_usd or 0) - share.nano_usd
                return Refusal(inference_id, 0, lacking[0], scope.id, lacking[1], spent)
            shares.append(share)
        for share in shares:
            share.nano_usd -= hold_nano_usd
            share.window.take(1, tokens)
        self._taken[inference_id] = (hold_nano_usd, shares)
        return None

    def end(self, inference_id: str, charged_nano_usd: int) -> None:
        """The request is over: what it did not cost may be given out again."""
        taken = self._taken.pop(inference_id, None)
        if taken is not None:
            hold_nano_usd, shares = taken
            for share in shares:
                share.nano_usd += hold_nano_usd - charged_nano_usd

    def _share(self, team_id: str, scope: Scope, running: int, now_s: float) -> Share | None:
        place = (team_id, scope.id)
        share = self._shares.get(place)
        if share is None:
            reading = self._readings.get(place)
            lost_at_s = now_s if self._lost_at_s is None else self._lost_at_s
            if reading is None or lost_at_s - reading.at_s > READ_WITHIN_S:
                return None
            share = self._shares[place] = Share.of(reading, max(1, self.workers), running, now_s)
        # Another budget or limit than that which was read, or the next window of it: nothing is known of it.
        return share if share.reading.scope == scope and now_s - share.begun_s <= GRACE_S else None
