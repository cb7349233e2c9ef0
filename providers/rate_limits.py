"""What a provider's headers say about when to come back and how much is left. Pure but for one look at the clock.

`RateLimits` is advice for routing; nothing here delays or refuses anything.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from providers.wire import Headers

RETRY_AFTER_MAX_S: Final = 3600.0
_RESET_MAX_S: Final = 8 * 86400.0
"""A reset further away than this is an epoch or nonsense, not a duration."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What is left at a provider, as its last answer said. None: it did not say."""

    requests_limit: int | None = None
    requests_remaining: int | None = None
    requests_reset_s: float | None = None
    tokens_limit: int | None = None
    tokens_remaining: int | None = None
    tokens_reset_s: float | None = None

    def tightest(self) -> tuple[float, float | None] | None:
        """The smaller of the shares that are left, from 0 to 1, and when it is whole again, in seconds. None where
        nothing can be told."""
        windows = (
            (self.requests_limit, self.requests_remaining, self.requests_reset_s),
            (self.tokens_limit, self.tokens_remaining, self.tokens_reset_s),
        )
        shares = [
            (min(1.0, left / limit) if limit else 0.0, reset_s)
            for limit, left, reset_s in windows
            if left is not None and (limit or left == 0)
        ]
        return min(shares, key=lambda share: share[0], default=None)


@dataclass(frozen=True, slots=True)
class LimitHeader:
    """The names of one window's headers, in lower case. An empty name: that part is not sent."""

    limit: str
    remaining: str
    reset: str = ""

    @classmethod
    def of(cls, unit: str) -> LimitHeader:
        """The usual names for `unit`, for example `requests` or `tokens-minute`."""
        return cls(f"x-ratelimit-limit-{unit}", f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}")


@dataclass(frozen=True, slots=True)
class LimitHeaders:
    """A provider's windows. Where several of a kind are sent, the one with the least left counts."""

    requests: tuple[LimitHeader, ...] = (LimitHeader.of("requests"),)
    tokens: tuple[LimitHeader, ...] = (LimitHeader.of("tokens"),)


def read_rate_limits(headers: Headers, names: LimitHeaders | None = None) -> RateLimits | None:
    """What the answer's headers say, or None where they say nothing."""
    if not any(name.startswith(b"x-") and b"limit" in name for name, _ in headers):
        return None
    names = names or LimitHeaders()
    values = as_mapping(headers)
    requests = _tightest(values, names.requests)
    tokens = _tightest(values, names.tokens)
    if requests == tokens == (None, None, None):
        return None
    return RateLimits(*requests, *tokens)


Window = tuple[int | None, int | None, float | None]


def _tightest(values: Mapping[str, str], windows: tuple[LimitHeader, ...]) -> Window:
    found: list[Window] = []
    for window in windows:
        read = (
            _whole(values.get(window.limit)),
            _whole(values.get(window.remaining)),
            read_duration_s(values.get(window.reset, "")),
        )
        if read != (None, None, None):
            found.append(read)
    return min(found, key=lambda w: math.inf if w[1] is None else w[1], default=(None, None, None))


def as_mapping(headers: Headers) -> dict[str, str]:
    """Names to values; the first of a repeated header wins."""
    values: dict[str, str] = {}
    for name, value in headers:
        values.setdefault(name.decode("latin-1").lower(), value.decode("latin-1").strip())
    return values


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 15 else None


_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s|d)")
_SECONDS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def read_duration_s(text: str) -> float | None:
    """Seconds of `6s`, `130ms`, `2m59.56s` (groq, nebius), `23673.93` (cerebras) or `2` (together)."""
    seconds = _number(text)
    if seconds is None:
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            return None
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return seconds if 0 <= seconds <= _RESET_MAX_S else None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d{1,20})?", text, re.ASCII) else None


def read_retry_after_s(headers: Headers) -> float | None:
    """How long to stay away: `retry-after-ms`, or `retry-after` as seconds or as a date. Nonsense is None.

    A date is measured against the answer's own `date`, so that a clock that is off does no harm.
    """
    values = as_mapping(headers)
    ms = _number(values.get("retry-after-ms", ""))
    if ms is not None:
        return min(ms / 1000, RETRY_AFTER_MAX_S)
    text = values.get("retry-after", "")
    seconds = _number(text)
    if seconds is None:
        until = _epoch_s(text)
        if until is None:
            return None
        now = _epoch_s(values.get("date", ""))
        seconds = max(0.0, until - (time.time() if now is None else now))
    return min(seconds, RETRY_AFTER_MAX_S)


def _epoch_s(text: str) -> float | None:
    if not text:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
