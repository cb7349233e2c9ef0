"""A provider's bill against our provider ledger: every difference has a kind, and nothing remains. Pure.

Differences are theirs minus ours, so they add up to the provider's total minus our ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.money import format_usd
from gateway.provider_export import BilledRow
from gateway.records import ClosedEntry, attempt_id
from gateway.routing.pricing import charge_nano_usd
from providers.wire import Usage

KINDS: Final = ("missing_here", "missing_there", "token_delta", "price_delta", "not_itemised")
"""`missing_here`: billed, and we know no such attempt, or it was billed before; `missing_there`: booked here, and not
billed; `token_delta`: other tokens, at our price; `price_delta`: the same tokens at another price; `not_itemised`: in
our sums, but the entries are no longer kept."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference of one attempt. A pair that differs in tokens and in price gives two."""

    kind: str
    nano_usd: int
    """Theirs minus ours."""
    line: int | None = None
    """In the provider's file."""
    id: str | None = None
    """As the provider calls it."""
    attempt_id: str | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "amount_usd": format_usd(self.nano_usd),
            "line": self.line,
            "id": self.id,
            "attempt_id": self.attempt_id,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Totals in nano-USD; `matched` counts the attempts that agree in all that the file tells."""

    provider_total_nano_usd: int
    ledger_total_nano_usd: int
    matched: int
    differences: tuple[Difference, ...]

    def sum(self, kind: str) -> int:
        return sum(one.nano_usd for one in self.differences if one.kind == kind)

    def count(self, kind: str) -> int:
        return sum(one.kind == kind for one in self.differences)

    @property
    def remainder_nano_usd(self) -> int:
        """What no difference explains: always 0."""
        explained = sum(one.nano_usd for one in self.differences)
        return self.provider_total_nano_usd - self.ledger_total_nano_usd - explained

    def as_json(self) -> dict[str, Any]:
        return {
            "provider_total_usd": format_usd(self.provider_total_nano_usd),
            "ledger_total_usd": format_usd(self.ledger_total_nano_usd),
            "difference_usd": format_usd(self.provider_total_nano_usd - self.ledger_total_nano_usd),
            "remainder_usd": format_usd(self.remainder_nano_usd),
            "matched": self.matched,
            **{kind: {"count": self.count(kind), "amount_usd": format_usd(self.sum(kind))} for kind in KINDS},
            "differences": [one.as_json() for one in self.differences],
        }


def reconcile(rows: Iterable[BilledRow], entries: Sequence[ClosedEntry], ledger_total_nano_usd: int) -> Reconciliation:
    """`entries` are those of this provider and period, `ledger_total_nano_usd` the ledger's sum of the same."""
    register = _Register(entries)
    differences: list[Difference] = []
    total = matched = 0
    for row in rows:
        total += row.cost_nano_usd
        entry, note = register.take(row)
        if entry is None and not (row.cost_nano_usd or row.prompt_tokens or row.completion_tokens):
            continue  # it lists what it refused, too: nothing was used there, and nothing is billed
        if entry is None:
            differences.append(Difference("missing_here", row.cost_nano_usd, row.line, row.ids[0], None, note))
            continue
        found = _compare(row, entry)
        differences += found
        matched += not found
    differences += [
        Difference("missing_there", -_cost(entry), None, entry.upstream_id, _attempt(entry), _told(entry))
        for entry in register.left()
        if _is_expected(entry)
    ]
    itemised = sum(_cost(entry) for entry in entries)
    if ledger_total_nano_usd != itemised:
        differences.append(Difference("not_itemised", itemised - ledger_total_nano_usd, note="no longer kept"))
    return Reconciliation(total, ledger_total_nano_usd, matched, tuple(differences))


class _Register:
    """Attempts by the provider's id and by our own, each given out once."""

    def __init__(self, entries: Sequence[ClosedEntry]) -> None:
        self._left = {_attempt(entry): entry for entry in entries}
        self._known: dict[str, list[ClosedEntry]] = {}
        for entry in entries:
            if entry.upstream_id:
                self._known.setdefault(entry.upstream_id, []).append(entry)
        for name, entry in self._left.items():
            self._known.setdefault(name, []).append(entry)

    def take(self, row: BilledRow) -> tuple[ClosedEntry | None, str]:
        """The attempt that a row is about, or None and why."""
        known = [entry for name in row.ids for entry in self._known.get(name, ())]
        for entry in known:
            if self._left.pop(_attempt(entry), None) is not None:
                return entry, ""
        return None, "billed more than once" if known else ""

    def left(self) -> list[ClosedEntry]:
        return list(self._left.values())


def _compare(row: BilledRow, entry: ClosedEntry) -> list[Difference]:
    """The differences of one pair; their amounts add up to the row's cost minus ours."""
    theirs = Usage(
        _given(row.prompt_tokens, entry.prompt_tokens),
        _given(row.completion_tokens, entry.completion_tokens),
        cached_tokens=_given(row.cached_tokens, entry.cached_tokens),
        cache_write_tokens=entry.cache_write_tokens,
    )
    ours = (entry.prompt_tokens, entry.completion_tokens, entry.cached_tokens)
    at_our_price = _cost(entry)
    found = []
    if (theirs.prompt_tokens, theirs.completion_tokens, theirs.cached_tokens) != ours:
        if entry.price is not None:
            at_our_price = charge_nano_usd(theirs, entry.price)
        note = (
            f"{theirs.prompt_tokens}+{theirs.completion_tokens} tokens there, "
            f"{entry.prompt_tokens}+{entry.completion_tokens} here{_reason(entry)}"
        )
        found.append(_difference("token_delta", at_our_price - _cost(entry), row, entry, note))
    if row.cost_nano_usd != at_our_price:
        note = f"{format_usd(row.cost_nano_usd)} there, {format_usd(at_our_price)} at our price"
        if entry.price is None:
            note = f"{format_usd(row.cost_nano_usd)} there, no price known here"
        found.append(_difference("price_delta", row.cost_nano_usd - at_our_price, row, entry, note))
    return found


def _difference(kind: str, nano_usd: int, row: BilledRow, entry: ClosedEntry, note: str) -> Difference:
    return Difference(kind, nano_usd, row.line, row.ids[0], _attempt(entry), note)


def _given(theirs: int | None, ours: int) -> int:
    return ours if theirs is None else theirs


def _is_expected(entry: ClosedEntry) -> bool:
    """Whether a provider that does not list an attempt differs from us: not where it cost nothing, and not where nobody
    knew whether it would."""
    return bool(_cost(entry) or entry.prompt_tokens or entry.completion_tokens)


def _reason(entry: ClosedEntry) -> str:
    return " (estimated)" if entry.estimated else " (unknown)" if entry.unknown else ""


def _told(entry: ClosedEntry) -> str:
    return entry.failure or _reason(entry).strip(" ()")


def _cost(entry: ClosedEntry) -> int:
    return entry.provider_cost_nano_usd or 0


def _attempt(entry: ClosedEntry) -> str:
    return attempt_id(entry.inference_id, entry.number)
