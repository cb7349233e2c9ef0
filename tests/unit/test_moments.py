"""Times in ISO 8601: read with and without a zone, written with one."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from gateway.moments import format_moment, parse_moment, start_of_month, zone_named

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-11-23", "2026-11-23T00:00:00Z"),
        ("2026-11-23T09:30:00Z", "2026-11-23T09:30:00Z"),
        ("2026-11-23T09:30:00+01:00", "2026-11-23T08:30:00Z"),
        ("2026-11-23T09:30:00 01:00", "2026-11-23T08:30:00Z"),
        ("2026-11-23 09:30", "2026-11-23T09:30:00Z"),
        ("2026-11-23T09:30:00.250", "2026-11-23T09:30:00.250Z"),
    ],
)
def test_a_time_is_read_and_written_with_its_zone(text: str, written: str) -> None:
    assert format_moment(parse_moment(text)) == written


def test_a_date_begins_at_midnight_of_the_zone() -> None:
    assert format_moment(parse_moment("2026-07-01", BERLIN)) == "2026-06-30T22:00:00Z"
    assert format_moment(parse_moment("2026-07-01", BERLIN), BERLIN) == "2026-07-01T00:00:00+02:00"


def test_a_month_begins_before_the_clocks_were_changed() -> None:
    now_ms = parse_moment("2026-10-30T12:00:00", BERLIN)
    assert format_moment(start_of_month(now_ms, BERLIN), BERLIN) == "2026-10-01T00:00:00+02:00"


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01", "2026-11-2x", "99999-01-01", "1795000000", "0001-01-01T00:00+14:00"]
)
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        parse_moment(text, BERLIN)


@pytest.mark.parametrize("name", ["", "Berlin", "/etc/passwd", "../UTC", "Europe", "Mars/Olympus"])
def test_other_names_are_no_zones(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        zone_named(name)
