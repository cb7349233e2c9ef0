"""The journals of this host as a person looks at them: who has each, what of it the store has, and what was set aside.

A run is set aside where the store has no watermark of its journal and the entries are too old to take that for a zero:
they may have been counted before the watermark was lost. Whoever knows has them applied. Works beside running workers:
the watermark, which the store moves with each run, decides who comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gateway.journal.lock import holder_of
from gateway.journal.reader import (
    SHIPPED_NAME,
    JournalState,
    all_segments,
    closed_after,
    closed_entries,
    journals_under,
    read_state,
)
from gateway.moments import format_moment
from gateway.records import Run
from gateway.store.base import STALE_AFTER_MS, Ledger, Store, StoreAway
from gateway.store.runs import mark_at, next_run

READ_ENTRIES_MAX: Final = 2_000
STATES: Final = ("live", "adopted", "orphan", "shipped", "archived")
"""`live`: its worker has it; `adopted`: another one does; `orphan`: nobody does; `shipped`: nobody need any more;
`archived`: there is only the archive of it."""


@dataclass(frozen=True, slots=True)
class TeamPart:
    """What a journal holds of one team."""

    team_id: str
    last: int
    """The last sequence written."""
    noted: int
    """Up to where the store had it once, as the journal noted."""
    watermark: int | None
    """Up to where the store has it; None where it knows nothing of this journal."""
    unshipped: int
    is_set_aside: bool

    def as_json(self, team_name: str) -> dict[str, Any]:
        return {
            "team": team_name,
            "team_id": self.team_id,
            "entries": self.last,
            "acknowledged_once": self.noted,
            "watermark": self.watermark,
            "unshipped_entries": self.unshipped,
            "set_aside": self.is_set_aside,
        }


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """One journal. `state` is one of `STATES`, `adopter` the instance that took it over."""

    instance: str
    state: str
    adopter: str | None
    teams: tuple[TeamPart, ...]
    open_requests: int
    bad_entries: int
    size_bytes: int
    written_at_ms: int

    @property
    def entries(self) -> int:
        return sum(part.last for part in self.teams)

    @property
    def unshipped(self) -> int:
        return sum(part.unshipped for part in self.teams)

    @property
    def set_aside(self) -> int:
        return sum(part.unshipped for part in self.teams if part.is_set_aside)

    def as_json(self, team_names: Mapping[str, str]) -> dict[str, Any]:
        return {
            "instance": self.instance,
            "state": self.state,
            "adopter": self.adopter,
            "entries": self.entries,
            "unshipped_entries": self.unshipped,
            "set_aside_entries": self.set_aside,
            "bad_entries": self.bad_entries,
            "open_requests": self.open_requests,
            "bytes": self.size_bytes,
            "written_at": format_moment(self.written_at_ms),
            "teams": [part.as_json(team_names.get(part.team_id, part.team_id)) for part in self.teams],
        }


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one team's part of a journal that was set aside."""

    instance: str
    team_id: str
    skipped: int
    """Entries that the journal noted as acknowledged, left as counted."""
    shipped: int

    def as_json(self, team_names: Mapping[str, str]) -> dict[str, Any]:
        return {
            "instance": self.instance,
            "team": team_names.get(self.team_id, self.team_id),
            "team_id": self.team_id,
            "skipped_entries": self.skipped,
            "shipped_entries": self.shipped,
        }


async def look_at(root: Path, store: Store) -> tuple[list[JournalFacts], str | None]:
    """Every journal under a root, oldest first, and why the store could not be asked, None where it could: then each is
    told by what it noted itself. Raises NewerFormat and OSError."""
    found, away = [], None
    for folder in await asyncio.to_thread(journals_under, root):
        state = await asyncio.to_thread(read_state, folder, keep_aside=False)
        marks: Mapping[str, int | None] = state.shipped
        stale_before_ms = 0
        if away is None:
            try:
                known = await store.watermarks(folder.name, list(state.last))
                marks = {team_id: known.get(team_id) for team_id in state.last}
                stale_before_ms = await store.now_ms() - STALE_AFTER_MS
            except StoreAway as error:
                away = error.reason
        found.append(await asyncio.to_thread(_facts, folder, state, marks, stale_before_ms))
    return sorted(found, key=lambda facts: (facts.written_at_ms, facts.instance)), away


async def apply(root: Path, store: Ledger, journal: JournalFacts, *, from_start: bool) -> list[Applied]:
    """Ships what was set aside of a journal: what comes after the entries that it noted as acknowledged, or all of it
    (`from_start`: the store was emptied). Again does nothing. Raises StoreAway, NewerFormat and OSError."""
    applied = []
    for part in journal.teams:
        if part.is_set_aside:
            skipped = 0 if from_start else part.noted
            shipped = await _ship(root / journal.instance, store, part.team_id, skipped)
            applied.append(Applied(journal.instance, part.team_id, skipped, shipped))
    return applied


async def _ship(folder: Path, store: Ledger, team_id: str, noted: int) -> int:
    """Ships a team's entries after `noted`, from wherever the store is; how many of them this call applied."""
    believed = count = 0
    if noted:
        settled = await store.settle(Run(team_id, folder.name, 0, (mark_at(team_id, noted),), replayed=True))
        believed = settled.watermark
    while True:
        after = {team_id: believed}
        found = await asyncio.to_thread(closed_after, all_segments(folder), after, most=READ_ENTRIES_MAX)
        queue = found.entries[team_id]
        if not queue:
            return count
        while queue:
            run = next_run(team_id, folder.name, believed, queue)
            settled = await store.settle(replace(run, replayed=True))
            if settled.outcome == "applied":
                count += len(run.entries)
            # A gap: a worker has gone on with it meanwhile, or the store has gone back.
            if settled.watermark < believed:
                queue = []
            believed = settled.watermark
            queue = [entry for entry in queue if entry.seq > believed]


def _facts(folder: Path, state: JournalState, marks: Mapping[str, int | None], stale_before_ms: int) -> JournalFacts:
    unshipped = dict.fromkeys(state.last, 0)
    stale = set()
    behind = {team_id for team_id, last in state.last.items() if (marks.get(team_id) or 0) < last}
    for entry in closed_entries(all_segments(folder)) if behind else ():
        mark = marks.get(entry.team_id)
        if entry.team_id in behind and entry.seq > (mark or 0):
            # The first of them decides, as it does in the store.
            if mark is None and not unshipped[entry.team_id] and entry.at_ms < stale_before_ms:
                stale.add(entry.team_id)
            unshipped[entry.team_id] += 1
    files = [path.stat() for path in all_segments(folder)]
    holder = holder_of(folder)
    return JournalFacts(
        instance=folder.name,
        state=_state_of(folder, holder),
        adopter=holder if holder != folder.name else None,
        teams=tuple(
            TeamPart(
                team_id=team_id,
                last=last,
                noted=state.shipped.get(team_id, 0),
                watermark=marks.get(team_id),
                unshipped=unshipped[team_id],
                is_set_aside=team_id in stale,
            )
            for team_id, last in sorted(state.last.items())
        ),
        open_requests=len(state.requests),
        bad_entries=state.bad_frames,
        size_bytes=sum(file.st_blocks * 512 for file in files),
        written_at_ms=max((file.st_mtime_ns // 1_000_000 for file in files), default=0),
    )


def _state_of(folder: Path, holder: str | None) -> str:
    if not folder.exists():
        return "archived"
    if (folder / SHIPPED_NAME).exists():
        return "shipped"
    if holder is None:
        return "orphan"
    return "live" if holder == folder.name else "adopted"
