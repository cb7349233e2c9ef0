"""Hours add up to days in every time zone, and windows end when the zone's day does."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.periods import Periods, budget_window, hour_of, windows_of


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("timezone", "at", "day", "hour_start", "day_start"),
    [
        ("UTC", "2026-11-23T15:26:03", "2026-11-23", "2026-11-23T15:00:00", "2026-11-23T00:00:00"),
        ("Europe/Paris", "2026-11-23T23:30:00", "2026-11-24", "2026-11-23T23:00:00", "2026-11-23T23:00:00"),
        ("Asia/Kolkata", "2026-11-23T18:29:59", "2026-11-23", "2026-11-23T17:30:00", "2026-11-22T18:30:00"),
        ("Asia/Kolkata", "2026-11-23T18:30:00", "2026-11-24", "2026-11-23T18:30:00", "2026-11-23T18:30:00"),
        ("America/New_York", "2026-11-01T06:30:00", "2026-11-01", "2026-11-01T06:00:00", "2026-11-01T04:00:00"),
    ],
)
def test_the_hour_and_the_day_are_local(timezone: str, at: str, day: str, hour_start: str, day_start: str) -> None:
    hour = hour_of(ms(at), timezone)
    assert (hour.day, hour.start_ms, hour.day_start_ms) == (day, ms(hour_start), ms(day_start))


def test_a_remembered_hour_is_left_when_it_ends() -> None:
    periods = Periods()
    first = periods.hour(ms("2026-11-23T23:59:59"), "UTC")
    assert periods.hour(ms("2026-11-23T23:00:00"), "UTC") is first
    assert periods.hour(ms("2026-11-24T00:00:00"), "UTC").day == "2026-11-24"


def test_budget_windows() -> None:
    assert budget_window("day", "2026-12-31", "UTC") == ("day:2026-12-31", ms("2027-01-01T00:00:00"))
    assert budget_window("month", "2026-11-23", "Europe/Paris") == ("month:2026-11", ms("2026-11-30T23:00:00"))
    assert budget_window("month", "2026-12-01", "UTC") == ("month:2026-12", ms("2027-01-01T00:00:00"))
    assert budget_window("total", "2026-11-23", "UTC") == ("total", None)
    assert windows_of("2026-11-23") == ("day:2026-11-23", "month:2026-11", "total")
