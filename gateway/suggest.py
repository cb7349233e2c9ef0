"""“Did you mean …?”: the nearest right names for a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """Up to `most` of `known` that look like `name`, best first; case does not count."""
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), candidate)
    return [by_folded[hit] for hit in get_close_matches(name.casefold(), by_folded, n=most, cutoff=0.6)]


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """A sentence to append, with a leading blank, or nothing."""
    hits = nearest(name, known, most=most)
    if not hits:
        return ""
    return f" Did you mean {' or '.join(repr(hit) for hit in hits)}?"
