"""The reference model of the ledger: a fold of closed entries in plain Python.

Both stores mean what this says. A shipper's run is summed here before it is applied, and tests fold whole journals
and compare.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from gateway.periods import windows_of
from gateway.records import CHARGED, BudgetTaken, ClosedEntry, PriceTaken

TAG_VALUES_MAX: Final = 1000
OTHER_VALUE: Final = "~other"
"""What further values of a tag are counted under, once a team has had so many of them on a day."""

Cell = tuple[int, str, str, str]
"""(start of the hour or day in ms, key id, hub model, provider)."""
Line = tuple[str, str, PriceTaken | None]
"""(hub model, provider, the price that was charged; None: none was)."""


def counters_of(entry: ClosedEntry) -> dict[str, int]:
    """What one entry adds to its cell, by the names of METRICS; zeros are left out."""
    if entry.kind == "lost":
        return {"lost_entries": entry.lost_to - entry.lost_from + 1}
    if entry.kind == "carried":
        return dict(entry.sums)
    counters: dict[str, int] = {}
    if entry.last:
        counters["requests"] = 1
        if entry.failed:
            counters["failed_requests"] = 1
    if entry.answered:
        for name in CHARGED[entry.charged_for]:
            if tokens := getattr(entry, name):
                counters[name] = tokens
        if entry.charge_nano_usd is None:
            counters["unpriced_requests"] = 1
        elif entry.charge_nano_usd:
            counters["charge_nano_usd"] = entry.charge_nano_usd
        if entry.estimated and entry.charged_for != "completion":  # what it goes on from was an estimate, too
            counters["estimated_requests"] = 1
    if entry.provider_cost_nano_usd:
        counters["provider_cost_nano_usd"] = entry.provider_cost_nano_usd
    if entry.overrun_nano_usd:
        counters["overrun_nano_usd"] = entry.overrun_nano_usd
    if entry.unknown:
        counters["unknown_requests"] = 1
    return counters


@dataclass(frozen=True, slots=True)
class Ended:
    """A request whose hold ends with this run, and the tokens that it really took."""

    inference_id: str
    key_id: str
    tokens: int


@dataclass(slots=True)
class RunSums:
    """What a run of one day adds to a team's ledger."""

    hours: dict[Cell, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    days: dict[Cell, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    tags: dict[tuple[str, str, Cell], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By (tag name, value, cell of the day)."""
    spent: Counter[str] = field(default_factory=Counter)
    """Nano-USD charged by scope: `team` and `key:<id>`."""
    budgets: dict[tuple[str, str], BudgetTaken] = field(default_factory=dict)
    """What the charges count against, by scope and window: the newest word on each."""
    ended: list[Ended] = field(default_factory=list)
    lines: dict[Line, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """What an invoice tells."""


def _add(sums: Counter[str], counters: dict[str, int]) -> None:
    """As `Counter.update`, in a third of its time: this runs for every attempt that is ever made."""
    for name, value in counters.items():
        sums[name] = sums.get(name, 0) + value


def sum_run(entries: Iterable[ClosedEntry]) -> RunSums:
    sums = RunSums()
    for entry in entries:
        counters = counters_of(entry)
        if counters:
            rest = (entry.key_id, entry.hub_model, entry.provider)
            day_cell = (entry.day_start_ms, *rest)
            _add(sums.hours[(entry.hour_start_ms, *rest)], counters)
            _add(sums.days[day_cell], counters)
            for name, value in entry.tags.items():
                _add(sums.tags[(name, value, day_cell)], counters)
            # An attempt that is not charged has no part in any price's line.
            line = (entry.hub_model, entry.provider, entry.price if entry.answered else None)
            _add(sums.lines[line], counters)
        charge = counters.get("charge_nano_usd", 0)
        if charge:
            sums.spent["team"] += charge
            sums.spent[f"key:{entry.key_id}"] += charge
        for taken in entry.budgets:
            sums.budgets[taken.scope, taken.window] = taken
        if entry.last:
            tokens = entry.prompt_tokens + entry.completion_tokens if entry.answered else 0
            sums.ended.append(Ended(entry.inference_id, entry.key_id, tokens))
    return sums


class Fold:
    """A whole ledger by the simplest means: every entry counts once, whatever the order."""

    def __init__(self) -> None:
        self.hours: dict[tuple[str, Cell], Counter[str]] = defaultdict(Counter)
        self.tags: dict[tuple[str, str, str, Cell], Counter[str]] = defaultdict(Counter)
        self.spent: Counter[tuple[str, str, str]] = Counter()
        """By (team id, scope, window)."""
        self._seen: set[tuple[str, str, int]] = set()

    def add(self, instance: str, entry: ClosedEntry) -> None:
        mark = (instance, entry.team_id, entry.seq)
        if mark in self._seen:
            return
        self._seen.add(mark)
        sums = sum_run((entry,))
        for cell, counters in sums.hours.items():
            self.hours[(entry.team_id, cell)].update(counters)
        for (name, value, cell), counters in sums.tags.items():
            self.tags[(entry.team_id, name, value, cell)].update(counters)
        for scope, charge in sums.spent.items():
            for window in windows_of(entry.day):
                self.spent[(entry.team_id, scope, window)] += charge
