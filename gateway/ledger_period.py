"""A period of the ledger as sums and as the entries behind them, for those who explain the sums.

The sums are the ledger: they are kept for long, and all that was shipped is in them. Entries are kept for days only, so
what they do not explain any more is itself a figure, never a silent difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.journal.reader import SHIPPED_NAME, closed_entries, segments
from gateway.periods import HOUR_MS
from gateway.records import ClosedEntry
from gateway.store.base import Ledger, Store, UsageCell

READS_MAX: Final = 5
"""How often a ledger that moves while it is read is read again."""


@dataclass(frozen=True, slots=True)
class LedgerPeriod:
    """`from_ms` and `to_ms` (exclusive) are edges of hours: a cell and its entries are in it together or not at all."""

    from_ms: int
    to_ms: int
    cells: tuple[UsageCell, ...]
    entries: tuple[ClosedEntry, ...]

    def sum(self, metric: str, provider: str | None = None) -> int:
        """A counter of `gateway.records.METRICS` over all cells, or over those of one provider."""
        cells = (cell for cell in self.cells if provider is None or cell.provider == provider)
        return sum(cell.counters.get(metric, 0) for cell in cells)


async def read_period(store: Store, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None) -> LedgerPeriod:
    """Cells and entries of the same moment, as far as a store that goes on working allows it. Raises StoreAway."""
    before = await store.usage(from_ms=from_ms, to_ms=to_ms, team_ids=team_ids)
    for _ in range(READS_MAX):
        # An entry belongs to the hour of its team's zone, which begins up to an hour before its admission.
        found = await store.entries(from_ms=from_ms, to_ms=to_ms + HOUR_MS, team_ids=team_ids)
        cells = await store.usage(from_ms=from_ms, to_ms=to_ms, team_ids=team_ids)
        if cells == before:
            break
        before = cells
    return LedgerPeriod(from_ms, to_ms, tuple(before), tuple(entries_of(found, from_ms, to_ms)))


def entries_of(entries: Iterable[ClosedEntry], from_ms: int, to_ms: int) -> Iterator[ClosedEntry]:
    """Those whose hour begins in a period, as the cells of it do. What was carried over is a sum and explains none."""
    return (entry for entry in entries if from_ms <= entry.hour_start_ms < to_ms and entry.kind != "carried")


def journal_folders(root: Path) -> list[Path]:
    """The journals under a root that are not known to be shipped as a whole. Raises OSError."""
    if not root.is_dir():
        return []
    return sorted(
        path
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(".") and not (path / SHIPPED_NAME).exists()
    )


async def unshipped_entries(root: Path, ledger: Ledger, team_ids: Iterable[str]) -> list[ClosedEntry]:
    """What the journals of this host hold of some teams and the store does not have yet. Raises StoreAway, NewerFormat
    and OSError."""
    asked, found = list(team_ids), []
    for folder in await asyncio.to_thread(journal_folders, root):
        marks = await ledger.watermarks(folder.name, asked)
        found += await asyncio.to_thread(_after, folder, {team_id: marks.get(team_id, 0) for team_id in asked})
    return found


def _after(folder: Path, marks: dict[str, int]) -> list[ClosedEntry]:
    found: dict[tuple[str, int], ClosedEntry] = {}
    for entry in closed_entries(segments(folder)):
        if entry.team_id in marks and entry.seq > marks[entry.team_id]:
            found[(entry.team_id, entry.seq)] = entry
    return list(found.values())
