"""Builds a store from what another one holds. Doing it twice changes nothing.

What the target has already stays as it is: teams and keys by their ids, entries by the watermarks of their journals.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from gateway.records import ClosedEntry, Run
from gateway.store.base import STALE_AFTER_MS, AuditEntry, NameTaken, Store
from gateway.store.contents import CARRIED, EVER_MS, Item, JournalEntry, Journals
from gateway.store.runs import RUN_ENTRIES_MAX
from gateway.tenants import Key, Team


class TransferRefused(Exception):
    """The target cannot take this without counting something twice, or losing a name. Says what to do."""


@dataclass(slots=True)
class Transferred:
    """What was added, and what was there already."""

    teams: int = 0
    keys: int = 0
    entries: int = 0
    audit: int = 0
    known_teams: int = 0
    known_keys: int = 0
    known_entries: int = 0


@dataclass(slots=True)
class _Lane:
    """The entries of one journal and team that wait for a run."""

    believed: int
    waiting: list[ClosedEntry] = field(default_factory=list)


class Transfer:
    """One act of building up `target`. Raises TransferRefused and StoreAway."""

    def __init__(self, target: Store) -> None:
        self.done = Transferred()
        self._target = target
        self._key_ids: set[str] = set()
        self._marks: dict[str, dict[str, int]] = {}
        """By team id: what the target knew of each journal, before anything was added."""
        self._had_usage: set[str] = set()
        self._recognised: set[str] = set()
        """Ids of teams of which the target knows some of these very journals."""
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._audit: list[AuditEntry] = []

    async def take(self, items: AsyncIterator[Item]) -> Transferred:
        """All of it, in the order in which a store tells it."""
        async for item in items:
            match item:
                case Team():
                    await self._flush()
                    await self._take_team(item)
                case Key():
                    await self._take_key(item)
                case Journals(team_id, instances):
                    if not self._marks[team_id].keys().isdisjoint(instances):
                        self._recognised.add(team_id)
                case AuditEntry():
                    self._audit.append(item)
                case JournalEntry():
                    await self._take_entry(item)
        await self._flush()
        if not await self._target.audit(limit=1):
            for act in self._audit:
                await self._target.append_audit(act)
            self.done.audit = len(self._audit)
        return self.done

    async def _take_team(self, team: Team) -> None:
        there = await self._target.find_team(team.id)
        if there is None or there.id != team.id:
            try:
                await self._target.save_team(team)
            except NameTaken:
                raise TransferRefused(
                    f"the target has another team called {team.name!r}: rename or delete one of them first"
                ) from None
            self.done.teams += 1
        else:
            self.done.known_teams += 1
        self._key_ids = {key.id for key in await self._target.keys(team.id)}
        self._marks[team.id] = await self._target.journals(team.id)
        if await self._target.usage(from_ms=0, to_ms=EVER_MS, team_ids=[team.id]):
            self._had_usage.add(team.id)

    async def _take_key(self, key: Key) -> None:
        if key.id in self._key_ids:
            self.done.known_keys += 1
        else:
            await self._target.create_key(key)
            self.done.keys += 1

    async def _take_entry(self, item: JournalEntry) -> None:
        entry = item.entry
        lane = self._lanes.get((item.instance, entry.team_id))
        if lane is None:
            # One journal after the other: what came before of this team is wholly there, or will be seen as missing.
            await self._flush()
            await self._refuse_doubling(item)
            lane = _Lane(self._marks[entry.team_id].get(item.instance, 0))
            self._lanes[(item.instance, entry.team_id)] = lane
        if entry.seq <= lane.believed:
            self.done.known_entries += 1
            return
        if lane.waiting and (lane.waiting[0].day != entry.day or len(lane.waiting) >= RUN_ENTRIES_MAX):
            await self._settle(item.instance, lane)
        lane.waiting.append(entry)

    async def _refuse_doubling(self, item: JournalEntry) -> None:
        """Where the target has usage of a team and no watermark of one of its journals, the journal may be in it."""
        team_id = item.entry.team_id
        if team_id not in self._had_usage or item.instance in self._marks[team_id]:
            return
        is_old = item.entry.at_ms < await self._target.now_ms() - STALE_AFTER_MS
        if item.instance.startswith(CARRIED) or (is_old and team_id not in self._recognised):
            raise TransferRefused(
                f"the target has usage of team {team_id} already, and no watermark tells whether this is in it: "
                "take an empty store"
            )

    async def _flush(self) -> None:
        for (instance, _), lane in self._lanes.items():
            if lane.waiting:
                await self._settle(instance, lane)

    async def _settle(self, instance: str, lane: _Lane) -> None:
        run = Run(lane.waiting[0].team_id, instance, lane.believed, tuple(lane.waiting), replayed=True)
        settled = await self._target.settle(run)
        if settled.outcome != "applied":
            raise TransferRefused(
                f"the target is at {settled.watermark} of the journal {instance}, expected {lane.believed}: something "
                "else writes to it; stop the gateway and do it again"
            )
        self.done.entries += len(lane.waiting)
        lane.believed, lane.waiting = settled.watermark, []


async def totals(store: Store, team_ids: Iterable[str], metrics: Sequence[str], from_ms: int) -> dict[str, list[int]]:
    """The ledger of each team since a moment, as sums in the order of `metrics`."""
    sums = {team_id: [0] * len(metrics) for team_id in team_ids}
    for cell in await store.usage(from_ms=from_ms, to_ms=EVER_MS, team_ids=list(sums)):
        for place, metric in enumerate(metrics):
            sums[cell.team_id][place] += cell.counters.get(metric, 0)
    return sums
