"""Times as people write them: ISO 8601 to Unix milliseconds and back, always with a zone.

What has no zone is taken in the zone that the caller hands in. Knows no clock of its own.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from gateway.suggest import did_you_mean

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LOST_PLUS: Final = re.compile(r"(\S+T\S+) (\d\d:\d\d)")
"""A plus sign that was put into a query as it is arrives as a blank."""


def format_moment(at_ms: int, zone: tzinfo = UTC) -> str:
    """1763904000000 to `"2025-11-23T13:20:00Z"`; milliseconds are shown where there are any."""
    moment = (_EPOCH + at_ms * _MILLISECOND).astimezone(zone)
    return moment.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds").replace("+00:00", "Z")


def parse_moment(text: str, zone: tzinfo = UTC) -> int:
    """An ISO date (its first instant in `zone`) or time to milliseconds; ValueError says what was expected."""
    try:
        if len(text) == len("2026-11-23"):
            moment = datetime.combine(date.fromisoformat(text), time.min, zone)
        else:
            moment = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
        # Comparing in UTC: the difference of two times in one zone would forget its changes of the clock.
        return (moment.astimezone(UTC) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text[:64]!r} is not an ISO 8601 date or time such as 2026-11-23 or 2026-11-23T09:30:00Z"
        ) from None


def start_of_month(now_ms: int, zone: tzinfo) -> int:
    """The first instant of the month that `now_ms` lies in."""
    local = (_EPOCH + now_ms * _MILLISECOND).astimezone(zone)
    first = datetime(local.year, local.month, 1, tzinfo=zone)
    return (first.astimezone(UTC) - _EPOCH) // _MILLISECOND


def zone_named(name: str) -> ZoneInfo:
    """The time zone of the IANA database with this name; ValueError with near names for any other."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = did_you_mean(name, available_timezones())
        raise ValueError(f"{name[:64]!r} is not a time zone such as Europe/Berlin or UTC.{hint}") from None
