"""Hours add up to days in every time zone, and windows end when the zone's day does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.periods import Periods, budget_window, hour_of, windows_of

HOUR_MS = 3_600_000
ZONES = sorted(available_timezones() - {"localtime", "Factory"})
zones = st.one_of(
    st.sampled_from(ZONES),
    # Half an hour forth and back; over midnight; off the hour; two hours at once; south; none.
    st.sampled_from(
        ["Australia/Lord_Howe", "Africa/Cairo", "America/Havana", "Asia/Kathmandu", "Antarctica/Troll",
         "America/Santiago", "Europe/Dublin", "Pacific/Apia", "UTC"]
    ),
)  # fmt: skip
moments = st.integers(1_704_067_200_000, 2_082_758_399_999)
"""From 2024 to 2035."""
LORD_HOWE_BACK_MS = 1_775_314_800_000
"""2026-04-04T15:00Z: at 02:00 of the fifth its clocks went back to 01:30."""


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


@given(moments, zones)
@example(LORD_HOWE_BACK_MS, "Australia/Lord_Howe")
def test_a_moment_lies_in_its_hour_and_its_day(at_ms: int, timezone: str) -> None:
    hour = hour_of(at_ms, timezone)
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(timezone))
    assert hour.day == local.date().isoformat()
    assert 0 <= at_ms - hour.start_ms < HOUR_MS
    assert hour.day_start_ms <= at_ms
    # The day before has ended when this one begins, however long it was.
    before = datetime.fromtimestamp(hour.day_start_ms / 1000 - 0.001, ZoneInfo(timezone))
    assert before.date() < local.date()


@given(st.lists(st.tuples(moments, st.integers(-2 * HOUR_MS, 2 * HOUR_MS)), min_size=1, max_size=6), zones)
@example([(LORD_HOWE_BACK_MS, 60_000), (LORD_HOWE_BACK_MS, -60_000)], "Australia/Lord_Howe")
def test_an_hour_depends_on_its_moment_alone(asked: list[tuple[int, int]], timezone: str) -> None:
    """Whatever was asked before, also by a clock that goes back."""
    periods = Periods()
    for at_ms, later_ms in asked:
        assert periods.hour(at_ms, timezone) == hour_of(at_ms, timezone)
        assert periods.hour(at_ms + later_ms, timezone) == hour_of(at_ms + later_ms, timezone)


@pytest.mark.parametrize("period", ["day", "month"])
@given(at_ms=moments, timezone=zones)
def test_a_window_resets_when_the_next_one_begins_and_not_before(period: str, at_ms: int, timezone: str) -> None:
    day = hour_of(at_ms, timezone).day
    window, resets_at_ms = budget_window(period, day, timezone)
    assert window in windows_of(day)
    assert resets_at_ms is not None
    assert at_ms < resets_at_ms
    last, first = (hour_of(resets_at_ms + step_ms, timezone).day for step_ms in (-1, 0))
    assert window in windows_of(last)
    assert window not in windows_of(first)
    assert last >= day


@given(moments, zones)
def test_the_next_day_is_another_window(at_ms: int, timezone: str) -> None:
    later_ms = at_ms + int(timedelta(hours=26).total_seconds() * 1000)
    first, second = hour_of(at_ms, timezone).day, hour_of(later_ms, timezone).day
    assert first < second
    assert windows_of(first)[0] != windows_of(second)[0]


def test_a_remembered_hour_is_left_when_it_ends() -> None:
    periods = Periods()
    first = periods.hour(ms("2026-11-23T23:59:59"), "UTC")
    assert periods.hour(ms("2026-11-23T23:45:00"), "UTC") is first
    assert periods.hour(ms("2026-11-24T00:00:00"), "UTC").day == "2026-11-24"


def test_budget_windows() -> None:
    assert budget_window("day", "2026-12-31", "UTC") == ("day:2026-12-31", ms("2027-01-01T00:00:00"))
    assert budget_window("month", "2026-11-23", "Europe/Paris") == ("month:2026-11", ms("2026-11-30T23:00:00"))
    assert budget_window("month", "2026-12-01", "UTC") == ("month:2026-12", ms("2027-01-01T00:00:00"))
    assert budget_window("total", "2026-11-23", "UTC") == ("total", None)
    assert windows_of("2026-11-23") == ("day:2026-11-23", "month:2026-11", "total")
