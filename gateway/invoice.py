"""A team's month as an invoice: lines per model, provider and price that add up to the nano-dollar. Pure.

The ledger's sums are what is owed; entries, which store the price that they were charged with, tell how it came about.
What the kept entries no longer explain is a line of its own, so that the total is always the ledger's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.csv_text import csv_text
from gateway.errors import InvalidRequest
from gateway.ledger_period import LedgerPeriod
from gateway.moments import format_moment, parse_moment, start_of_month
from gateway.money import format_usd
from gateway.records import CHARGED_METRICS, PriceTaken
from gateway.store.base import InvoiceLine
from gateway.store.fold import sum_run

FORMATS: Final = ("html", "csv")
PRICES: Final = ("input", "cached_input", "cache_write", "output")
MONTH_DAYS_MAX: Final = 31
_MONTH: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Month:
    """A month in a time zone: `from_ms` to `to_ms`, exclusive."""

    name: str
    zone: str
    from_ms: int
    to_ms: int


def month_named(text: str, zone: str) -> Month:
    """`2026-11` in a zone. Raises InvalidRequest."""
    if not _MONTH.fullmatch(text):
        raise InvalidRequest(f"month: {text[:32]!r} is not a month such as 2026-11", param="month")
    info = ZoneInfo(zone)
    try:
        from_ms = parse_moment(f"{text}-01", info)
        # A day past the longest month lies in the next one, whatever its clock does.
        to_ms = start_of_month(from_ms + (MONTH_DAYS_MAX + 1) * _DAY_MS, info)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"month: {text!r} is beyond all calendars", param="month") from None
    return Month(text, zone, from_ms, to_ms)


@dataclass(frozen=True, slots=True)
class Line:
    """One line item. `price` None: no price was known, or (`itemised` False) the entries are not to be had any more."""

    hub_model: str
    provider: str
    price: PriceTaken | None
    counters: Mapping[str, int]
    itemised: bool = True

    @property
    def amount_nano_usd(self) -> int:
        return self.counters.get("charge_nano_usd", 0)

    def tokens(self) -> dict[str, int]:
        """By kind, each token once: what was cached or written is not in `input`; reasoning is part of the output."""
        cached, written = self.counters.get("cached_tokens", 0), self.counters.get("cache_write_tokens", 0)
        return {
            "input_tokens": self.counters.get("prompt_tokens", 0) - cached - written,
            "cached_tokens": cached,
            "cache_write_tokens": written,
            "output_tokens": self.counters.get("completion_tokens", 0),
            "reasoning_tokens": self.counters.get("reasoning_tokens", 0),
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.hub_model or None,
            "provider": self.provider or None,
            "price": None if self.price is None else {name: format_usd(getattr(self.price, name)) for name in PRICES},
            "itemised": self.itemised,
            "requests": self.counters.get("requests", 0),
            "failed_requests": self.counters.get("failed_requests", 0),
            **self.tokens(),
            "amount_usd": format_usd(self.amount_nano_usd),
        }


@dataclass(frozen=True, slots=True)
class Invoice:
    """`total` sums the counters of all lines. `made_at_ms` tells whether the month was over."""

    team: str
    team_id: str
    month: Month
    lines: tuple[Line, ...]
    total: Mapping[str, int]
    made_at_ms: int

    @property
    def amount_nano_usd(self) -> int:
        return self.total.get("charge_nano_usd", 0)

    def notes(self) -> list[str]:
        """What the reader of the total has to know, in sentences."""
        notes = []
        if self.made_at_ms < self.month.to_ms:
            notes.append("The month is not over: this is what was used so far.")
        if count := self.total.get("estimated_requests", 0):
            notes.append(f"{count} requests are charged by an estimate, since their provider reported no usage.")
        if count := self.total.get("unpriced_requests", 0):
            notes.append(f"{count} requests used tokens that no price was known for; nothing is charged for them.")
        if count := self.total.get("lost_entries", 0):
            notes.append(f"{count} records of usage were lost; nothing is charged for them.")
        if any(not line.itemised for line in self.lines):
            notes.append("Where no price is shown, the single requests are no longer kept; the amounts are exact.")
        return notes

    def as_json(self) -> dict[str, Any]:
        zone = ZoneInfo(self.month.zone)
        return {
            "team": self.team,
            "team_id": self.team_id,
            "month": self.month.name,
            "timezone": self.month.zone,
            "from": format_moment(self.month.from_ms, zone),
            "to": format_moment(self.month.to_ms, zone),
            "data": [line.as_json() for line in self.lines],
            "total_usd": format_usd(self.amount_nano_usd),
            "estimated_requests": self.total.get("estimated_requests", 0),
            "unpriced_requests": self.total.get("unpriced_requests", 0),
            "lost_entries": self.total.get("lost_entries", 0),
            "notes": self.notes(),
        }

    def as_csv(self) -> str:
        """One line an item, without the total: the lines of a file can be added up."""
        rows = []
        for line in self.lines:
            row = line.as_json()
            prices = row.pop("price") or dict.fromkeys(PRICES)
            counts = (line.counters.get(name, 0) for name in ("estimated_requests", "unpriced_requests"))
            rows.append((self.team, self.month.name, *row.values(), *prices.values(), *counts))
        names = [name for name in Line("", "", None, {}).as_json() if name != "price"]
        return csv_text(
            ("team", "month", *names, *(f"{name}_usd_per_million" for name in PRICES), "estimated_requests",
             "unpriced_requests"),
            rows,
        )  # fmt: skip


def invoice(
    team: str,
    team_id: str,
    month: Month,
    period: LedgerPeriod,
    made_at_ms: int,
    kept_lines: Sequence[InvoiceLine] = (),
) -> Invoice:
    """The invoice of a team from the month's ledger, which holds that team alone. It is itemised by the entries, or by
    the store's own lines, whichever leave less unexplained."""
    of_entries = [Line(*key, _shown(sums)) for key, sums in sum_run(period.entries).lines.items()]
    of_store = [Line(line.hub_model, line.provider, line.price, _shown(line.counters)) for line in kept_lines]
    rests = [(_unexplained(period, lines), lines) for lines in (of_entries, of_store)]
    rest, lines = min(rests, key=lambda found: sum(abs(n) for line in found[0] for n in line.counters.values()))
    lines = sorted([*(line for line in lines if line.counters), *rest], key=_order)
    total: Counter[str] = Counter()
    for line in lines:
        total.update(line.counters)
    return Invoice(team, team_id, month, tuple(lines), dict(total), made_at_ms)


def _unexplained(period: LedgerPeriod, lines: Sequence[Line]) -> list[Line]:
    """What the ledger has beyond some lines, by model and provider."""
    ledger: dict[tuple[str, str], Counter[str]] = {}
    for cell in period.cells:
        ledger.setdefault((cell.hub_model, cell.provider), Counter()).update(_shown(cell.counters))
    for line in lines:
        ledger.setdefault((line.hub_model, line.provider), Counter()).subtract(line.counters)
    return [Line(*place, None, dict(rest), itemised=False) for place, rest in ledger.items() if any(rest.values())]


def _shown(counters: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counters.items() if name in CHARGED_METRICS and count}


def _order(line: Line) -> tuple[Any, ...]:
    prices = tuple(getattr(line.price, name) for name in PRICES) if line.price is not None else ()
    return (line.hub_model, line.provider, not line.itemised, prices)
