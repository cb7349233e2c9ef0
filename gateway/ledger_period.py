"""A period of the ledger as sums and as the entries behind them, for those who explain the sums.

The sums are the ledger: they are kept for long, and all that was shipped is in them. Entries are kept for days in the
store and for weeks in the archive of the host that wrote them, so what they do not explain any more is itself a figure,
never a silent difference.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.journal.local import LocalJournals
from gateway.journal.reader import SHIPPED_NAME, closed_entries, segments
from gateway.periods import HOUR_MS
from gateway.records import ClosedEntry
from gateway.store.base import Ledger, Store, UsageCell
from gateway.store.fold import counters_of

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


async def read_period(
    store: Store,
    from_ms: int,
    to_ms: int,
    team_ids: Sequence[str] | None = None,
    journals: LocalJournals | None = None,
) -> LedgerPeriod:
    """Cells and entries of the same moment, as far as a store that goes on working allows it. What the store no longer
    has of the entries is taken from `journals`, whose archive keeps them for longer. Raises StoreAway and OSError."""
    before = await store.usage(from_ms=from_ms, to_ms=to_ms, team_ids=team_ids)
    local: list[tuple[str, ClosedEntry]] | None = None
    for _ in range(READS_MAX):
        # An entry belongs to the hour of its team's zone, which begins up to an hour before its admission.
        entries = await store.entries(from_ms=from_ms, to_ms=to_ms + HOUR_MS, team_ids=team_ids)
        if journals is not None and not _explain(entries_of(entries, from_ms, to_ms), before):
            if local is None:
                local = await asyncio.to_thread(list, journals.entries_by_journal(from_ms, to_ms + HOUR_MS))
            entries += await _counted(store, local, entries, team_ids)
        cells = await store.usage(from_ms=from_ms, to_ms=to_ms, team_ids=team_ids)
        if cells == before:
            break
        before = cells
    return LedgerPeriod(from_ms, to_ms, tuple(before), tuple(entries_of(entries, from_ms, to_ms)))


def _explain(entries: Iterable[ClosedEntry], cells: Iterable[UsageCell]) -> bool:
    """Whether entries add up to all that the cells have."""
    rest: Counter[str] = Counter()
    for cell in cells:
        rest.update(cell.counters)
    for entry in entries:
        rest.subtract(counters_of(entry))
    return not any(rest.values())


async def _counted(
    store: Ledger,
    local: Iterable[tuple[str, ClosedEntry]],
    known: Iterable[ClosedEntry],
    team_ids: Sequence[str] | None,
) -> list[ClosedEntry]:
    """What journals hold beyond the known entries and the store has counted, by its watermarks."""
    seen = {(entry.inference_id, entry.number) for entry in known}
    by_journal: dict[str, list[ClosedEntry]] = {}
    for instance, entry in local:
        place = (entry.inference_id, entry.number)
        if place not in seen and (team_ids is None or entry.team_id in team_ids):
            seen.add(place)
            by_journal.setdefault(instance, []).append(entry)
    found: list[ClosedEntry] = []
    for instance, entries in by_journal.items():
        marks = await store.watermarks(instance, sorted({entry.team_id for entry in entries}))
        found += [entry for entry in entries if entry.seq <= marks.get(entry.team_id, 0)]
    return found


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
