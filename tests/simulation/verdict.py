"""What a run must hold, and how it is measured.

The oracle has the same cap on attempts and knows what each provider would answer: it sees an error only where all of
them would fail. The leader of a window is the provider whom more than half of its requests asked first. A fleet that
follows the weather changes its leader when the weather changes, within the time that a breaker stays open. What it does
more often than that is sway. A spell that is under way counts as news too: a fleet finds it when it gets there. Once in
two minutes it may leave a provider that fails about as often as not and come back, or the other way round; whoever does
it twice oscillates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from gateway.config.catalog import Routing
from tests.simulation.fleet import WINDOW_S, Record
from tests.simulation.frozen_loop import BEGIN_S
from tests.simulation.weather import PROVIDERS, Sky, Weather

ATTEMPTS_PER_REQUEST_MAX: Final = 1.2
ERRORS_ABOVE_ORACLE_MAX: Final = 0.005
SWAY_MAX: Final = 2
SWAY_S: Final = 120
NOBODY: Final = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The figures of one run, and which of them are wrong."""

    seed: int
    requests: int
    attempts_per_request: float
    attempts_most: int
    errors: int
    oracle_errors: int
    hasty: int
    openings: int
    leader_changes: int
    sway: int
    faults: Sequence[str]

    @property
    def errors_above_oracle(self) -> float:
        return (self.errors - self.oracle_errors) / self.requests


def judge(record: Record, weather: Weather, routing: Routing) -> Verdict:
    leaders = leaders_of(record)
    sway = max((_sway(leaders, weather, window) for window in range(len(leaders))), default=0)
    verdict = Verdict(
        weather.seed,
        record.requests,
        record.attempts / record.requests,
        record.attempts_most,
        record.errors,
        record.oracle_errors,
        record.hasty,
        record.openings,
        sum(one != other for one, other in pairwise(leaders)),
        sway,
        (),
    )
    return replace(verdict, faults=_faults(verdict, routing))


def _faults(verdict: Verdict, routing: Routing) -> list[str]:
    rules = {
        "too many attempts": verdict.attempts_per_request > ATTEMPTS_PER_REQUEST_MAX,
        "more attempts than the cap": verdict.attempts_most > routing.attempts,
        "more errors than the oracle": verdict.errors_above_oracle > ERRORS_ABOVE_ORACLE_MAX,
        "an account was not left in peace": verdict.hasty > 0,
        "oscillation": verdict.sway > SWAY_MAX,
    }
    return [what for what, is_so in rules.items() if is_so]


def leaders_of(record: Record) -> list[str]:
    """By window; one that has none keeps the leader of the window before."""
    windows = 1 + max((window for window, _ in record.first_asked), default=-1)
    leaders: list[str] = []
    for window in range(windows):
        asked = {name: record.first_asked[window, name] for name in PROVIDERS}
        most = max(asked, key=lambda name: asked[name])
        leads = 2 * asked[most] > sum(asked.values())
        leaders.append(most if leads else leaders[-1] if leaders else NOBODY)
    return leaders


def _sway(leaders: Sequence[str], weather: Weather, window: int) -> int:
    """Changes of the leader in the two minutes from a window on, less those that the weather had brought."""
    windows = SWAY_S // WINDOW_S
    seen = leaders[window : window + windows + 1]
    changes = sum(one != other for one, other in pairwise(seen))
    begin_s = BEGIN_S + window * WINDOW_S
    return changes - _weather_changes(weather, begin_s - Routing().breaker.open_s - WINDOW_S, begin_s + SWAY_S)


def _weather_changes(weather: Weather, from_s: float, to_s: float) -> int:
    count = 0
    for spells in weather.spells:
        for spell in spells:
            count += (spell.begin_s < to_s and spell.end_s > from_s) + (from_s <= spell.end_s < to_s)
            if spell.sky is Sky.FLAPPING:
                within_s = min(spell.end_s, to_s) - max(spell.begin_s, from_s)
                count += max(0, int(within_s / spell.strength))
    return count
