"""What befalls five providers in an hour, and what each of them would answer to a request at a moment.

All of it follows from a seed. An answer depends on the provider, the request, the number of its attempt there and the
moment, and on nothing that anybody asked before: so an oracle can know every answer that was never asked for.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from providers.wire import FailureKind, ProviderFailure

PROVIDERS: Final = ("first", "second", "third", "fourth", "fifth")
LATENCY_S: Final = (0.4, 0.6, 0.5, 0.9, 0.7)
"""Median time to the first content, by provider."""
FIRST_TOKEN_S: Final = 5.0
"""Patience with a provider, as its `firstToken`."""
STRAY_ERROR_SHARE: Final = 0.001
CALM_S: Final = 600.0
"""Mean time between two spells of one provider."""
SPELL_S: Final = (30.0, 240.0)
INCIDENT_S: Final = (60.0, 150.0)
INCIDENT_PROVIDERS: Final = 3
"""Once in a run so many of them are down together."""
ERROR_S: Final = 0.05


class Sky(Enum):
    OUTAGE = "outage"
    """Every request fails: refused, answered by a 500, or by silence."""
    SLOW = "slow"
    """Answers take several times as long, some of them too long."""
    STORM = "429 storm"
    """Most requests are answered by a 429, with or without a Retry-After."""
    FLAPPING = "flapping"
    """Down and up again, every few seconds."""


DOWN: Final = (FailureKind.SERVER_ERROR, FailureKind.CONNECT, FailureKind.TIMEOUT)
"""How a provider fails that is down."""


class Spell(NamedTuple):
    begin_s: float
    end_s: float
    sky: Sky
    strength: float
    """Slow: times the usual latency. Storm: share of refusals. Flapping: seconds down, and seconds up."""
    kind: FailureKind
    retry_after_s: float | None

    def is_down(self, at_s: float) -> bool:
        """Whether every request fails at this moment."""
        if self.sky is Sky.FLAPPING:
            return (at_s - self.begin_s) % (2 * self.strength) < self.strength
        return self.sky is Sky.OUTAGE


class Outcome(NamedTuple):
    failure: FailureKind | None
    retry_after_s: float | None
    after_s: float
    """How long it takes to be known."""

    def as_failure(self) -> ProviderFailure:
        assert self.failure is not None
        throttled = self.failure is FailureKind.RATE_LIMITED
        status = 429 if throttled else 500 if self.failure is FailureKind.SERVER_ERROR else None
        return ProviderFailure(self.failure, self.failure.value, status=status, retry_after_s=self.retry_after_s)


@dataclass(frozen=True, slots=True)
class Weather:
    """The spells of each provider, in order, and the dice for all else."""

    seed: int
    spells: Sequence[Sequence[Spell]]

    def spell_at(self, provider: int, at_s: float) -> Spell | None:
        found = bisect.bisect_right(self.spells[provider], at_s, key=lambda spell: spell.begin_s) - 1
        if found < 0 or self.spells[provider][found].end_s <= at_s:
            return None
        return self.spells[provider][found]

    def outcome(self, provider: int, request: int, attempt: int, at_s: float) -> Outcome:
        """What attempt number `attempt` of a request at this provider comes to, if it begins at this moment."""
        luck, pace = self._drawn(provider, request, attempt, 0), self._drawn(provider, request, attempt, 1)
        # Log-normal, of which this is the quick form: the quotient of the odds has about the same tails.
        latency_s = LATENCY_S[provider] * math.sqrt((pace + 0.05) / (1.05 - pace))
        spell = self.spell_at(provider, at_s)
        if spell is not None:
            if spell.is_down(at_s):
                return Outcome(spell.kind, None, FIRST_TOKEN_S if spell.kind is FailureKind.TIMEOUT else ERROR_S)
            if spell.sky is Sky.SLOW:
                latency_s *= spell.strength
            elif spell.sky is Sky.STORM and luck < spell.strength:
                return Outcome(FailureKind.RATE_LIMITED, spell.retry_after_s, ERROR_S)
        if latency_s > FIRST_TOKEN_S:
            return Outcome(FailureKind.TIMEOUT, None, FIRST_TOKEN_S)
        if luck > 1 - STRAY_ERROR_SHARE:
            return Outcome(FailureKind.SERVER_ERROR, None, ERROR_S)
        return Outcome(None, None, latency_s)

    def _drawn(self, *of: int) -> float:
        """In [0, 1), the same for the same numbers."""
        return hash((self.seed, *of)) % 1_000_003 / 1_000_003


def weather(seed: int, begin_s: float, length_s: float) -> Weather:
    dice = random.Random(seed)
    spells = [_spells(dice, begin_s, length_s) for _ in PROVIDERS]
    at_s = begin_s + dice.random() * length_s
    end_s = at_s + dice.uniform(*INCIDENT_S)
    incident = Spell(at_s, end_s, Sky.OUTAGE, 1.0, dice.choice(DOWN), None)
    for number in dice.sample(range(len(PROVIDERS)), INCIDENT_PROVIDERS):
        apart = [spell for spell in spells[number] if spell.end_s < at_s or spell.begin_s > end_s]
        spells[number] = sorted([*apart, incident], key=lambda spell: spell.begin_s)
    return Weather(seed, spells)


def clear_sky(seed: int) -> Weather:
    """Nothing happens but stray errors."""
    return Weather(seed, [()] * len(PROVIDERS))


def _spells(dice: random.Random, begin_s: float, length_s: float) -> list[Spell]:
    spells = []
    at_s = begin_s + dice.expovariate(1 / CALM_S)
    while at_s < begin_s + length_s:
        end_s = at_s + dice.uniform(*SPELL_S)
        sky = dice.choice(list(Sky))
        strength = {
            Sky.OUTAGE: 1.0,
            Sky.SLOW: dice.uniform(3, 12),
            Sky.STORM: dice.uniform(0.6, 0.95),
            Sky.FLAPPING: dice.uniform(2, 15),
        }[sky]
        kind = dice.choice(DOWN)
        retry_after_s = float(dice.randint(1, 15)) if dice.random() < 0.8 else None
        spells.append(Spell(at_s, end_s, sky, strength, kind, retry_after_s))
        at_s = end_s + dice.expovariate(1 / CALM_S)
    return spells
