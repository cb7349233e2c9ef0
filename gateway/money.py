"""Money is an integer number of nano-USD (10⁻⁹ USD). No float ever touches it.

A price is nano-USD per million tokens: one dollar per million tokens is 10⁹ of them, and a cost is
Σ tokens × price / 10⁶, rounded half to even once per attempt.
"""

from __future__ import annotations

import re
from typing import Final

NANO_PER_USD: Final = 1_000_000_000
TOKENS_PER_PRICE: Final = 1_000_000
NANO_USD_MAX: Final = 1 << 53
"""Lua compares amounts as doubles, exact up to here: about nine million dollars."""

_DECIMAL = re.compile(r"(\d{1,18})(?:\.(\d{1,9}))?\Z")


def parse_usd(text: str) -> int:
    """`"0.59"` to 590000000 nano-USD. ValueError for anything but a plain decimal with at most nine places."""
    match = _DECIMAL.match(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is not an amount in USD such as "0.59" (at most nine decimals)')
    whole, fraction = match[1], match[2] or ""
    amount = int(whole) * NANO_PER_USD + int(fraction.ljust(9, "0") or "0")
    if amount > NANO_USD_MAX:
        raise ValueError(f"{text!r} is more than {format_usd(NANO_USD_MAX)} USD")
    return amount


def format_usd(nano_usd: int) -> str:
    """590000000 nano-USD to `"0.59"`: exact, without trailing zeros."""
    sign, amount = ("-", -nano_usd) if nano_usd < 0 else ("", nano_usd)
    whole, fraction = divmod(amount, NANO_PER_USD)
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".")


def divide_half_even(numerator: int, denominator: int) -> int:
    """The quotient of two integers, rounded half to even. `denominator` is positive."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient
