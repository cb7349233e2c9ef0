"""Days, hours and budget windows of a moment in a time zone.

Everything is derived from the moment of admission and written into the entry; nothing here runs on a timer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

HOUR_MS: Final = 3_600_000
QUARTER_MS: Final = 900_000
"""Every zone of today begins its hours, and changes its clock, on a quarter of a UTC hour."""


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of local time: where it and its day begin (Unix ms), and the ISO day that it belongs to."""

    start_ms: int
    day_start_ms: int
    day: str


class Periods:
    """Remembers the hour of each time zone for a quarter of it, so that asking twice within that costs a look-up."""

    __slots__ = ("_current",)

    def __init__(self) -> None:
        self._current: dict[str, tuple[int, Hour]] = {}

    def hour(self, at_ms: int, timezone: str) -> Hour:
        quarter = at_ms // QUARTER_MS
        held = self._current.get(timezone)
        if held is None or held[0] != quarter:
            held = self._current[timezone] = (quarter, hour_of(at_ms, timezone))
        return held[1]


def hour_of(at_ms: int, timezone: str) -> Hour:
    """The local hour of a moment. Local hours begin off the UTC hour where the zone does (India, Nepal)."""
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(timezone))
    into_hour_ms = (local.minute * 60 + local.second) * 1000 + at_ms % 1000
    day = local.date().isoformat()
    return Hour(at_ms - into_hour_ms, day_start_ms(day, timezone), day)


def day_start_ms(day: str, timezone: str) -> int:
    """Unix ms at which an ISO day begins in a time zone."""
    start = date.fromisoformat(day)
    return int(datetime(start.year, start.month, start.day, tzinfo=ZoneInfo(timezone)).timestamp() * 1000)


def budget_window(period: str, day: str, timezone: str) -> tuple[str, int | None]:
    """The window of a `day`, `month` or `total` budget on an ISO day, and when it resets (Unix ms; None: never)."""
    if period == "total":
        return "total", None
    today = date.fromisoformat(day)
    if period == "day":
        following = today + timedelta(days=1)
        return f"day:{day}", day_start_ms(following.isoformat(), timezone)
    following = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    return f"month:{day[:7]}", day_start_ms(following.isoformat(), timezone)


def windows_of(day: str) -> tuple[str, str, str]:
    """The windows that a charge of this day counts in."""
    return f"day:{day}", f"month:{day[:7]}", "total"
