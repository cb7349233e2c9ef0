"""What a store holds, as a stream of values that another store can be built from.

The ledger is told as the closed entries of each journal, behind their watermarks. Where a store no longer has them
(Redis keeps sums), the sums are told as `carried` entries of a journal made for this one telling, and every other
journal by its watermark alone, so that nothing of it is ever counted again. Keys are told as digests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

from gateway.ids import new_instance_id
from gateway.periods import hour_of
from gateway.records import ClosedEntry
from gateway.store.base import AuditEntry, Store, UsageCell
from gateway.store.fold import Cell, sum_run
from gateway.store.runs import mark_at
from gateway.tenants import Key, Team

PAGE_ENTRIES: Final = 2000
AUDIT_MAX: Final = 100_000
EVER_MS: Final = 1 << 42
CARRIED: Final = "carried-"
"""What the journal of one telling begins with."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A closed entry, and the journal that it came to the store from."""

    instance: str
    entry: ClosedEntry


@dataclass(frozen=True, slots=True)
class Journals:
    """The names of all journals of a team that entries may follow of."""

    team_id: str
    instances: tuple[str, ...]


Item = Team | Key | Journals | JournalEntry | AuditEntry
"""A team, its keys, its journals, and their entries, each journal's in order; the audit comes last."""


async def contents(store: Store, zone: str) -> AsyncIterator[Item]:
    """Everything but holds, rates and slots, which live for minutes. `zone` is that of teams without one of their own.
    Raises StoreAway."""
    telling = CARRIED + new_instance_id()
    for team in await store.teams(deleted=True):
        yield team
        for key in await store.keys(team.id):
            yield key
        async for item in _ledger(store, team, team.timezone or zone, telling):
            yield item
    for act in reversed(await store.audit(limit=AUDIT_MAX)):
        yield act


async def _ledger(store: Store, team: Team, zone: str, telling: str) -> AsyncIterator[Journals | JournalEntry]:
    # Sums first: what is settled while this runs is then in no sum, and with the entries at most.
    cells = await store.usage(from_ms=0, to_ms=EVER_MS, team_ids=[team.id])
    marks = await store.journals(team.id)
    yield Journals(team.id, (*marks, telling))
    told: dict[Cell, Counter[str]] = {}
    whole: list[JournalEntry] = []
    for instance, mark in marks.items():
        reached = 0
        while page := await store.journal_entries(team.id, instance, after=reached, most=PAGE_ENTRIES):
            for entry in page:
                if entry.seq > mark:
                    break
                for cell, counters in sum_run((entry,)).hours.items():
                    told.setdefault(cell, Counter()).update(counters)
                yield JournalEntry(instance, entry)
            reached = page[-1].seq
        if reached < mark:
            whole.append(JournalEntry(instance, mark_at(team.id, mark)))
    for seq, (of_cell, sums) in enumerate(_unexplained(cells, told), 1):
        yield JournalEntry(telling, _carried(of_cell, sums, seq, zone))
    # A watermark comes last: whoever stops before has carried less, and not forgotten what it was for.
    for item in whole:
        yield item


def _unexplained(cells: list[UsageCell], told: dict[Cell, Counter[str]]) -> Iterator[tuple[UsageCell, dict[str, int]]]:
    """What the entries that were told leave of each cell."""
    for cell in cells:
        rest = Counter(cell.counters)
        rest.subtract(told.get((cell.start_ms, cell.key_id, cell.hub_model, cell.provider), {}))
        sums = {name: count for name, count in rest.items() if count > 0}
        if sums:
            yield cell, sums


def _carried(cell: UsageCell, sums: dict[str, int], seq: int, zone: str) -> ClosedEntry:
    hour = hour_of(cell.start_ms, zone)
    return ClosedEntry(
        kind="carried", seq=seq, prev=seq - 1, inference_id="", number=0, last=False, at_ms=cell.start_ms, day=hour.day,
        team_id=cell.team_id, key_id=cell.key_id, hub_model=cell.hub_model, provider=cell.provider, provider_model="",
        request_id="", hour_start_ms=cell.start_ms, day_start_ms=hour.day_start_ms, sums=sums,
    )  # fmt: skip
