"""Questions about usage, asked of the store: reports, exports and the story of one request.

What a worker's journal still holds and the store does not yet is asked of `LocalEntries`. Shaping the answers is the
business of `usage_report` and `usage_export`. Every question may raise StoreAway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from gateway.errors import NotFound
from gateway.ids import milliseconds_of
from gateway.journal.local import Told
from gateway.records import ClosedEntry
from gateway.store.base import KEEP, Store, UsageCell
from gateway.story import Story
from gateway.tenants import Team
from gateway.usage_export import attempts, charge_of
from gateway.usage_report import Report, Teams, UsageQuery, report, whole_days, whole_hours

DAY_MS: Final = 24 * 3_600_000
UNSHIPPED_MS: Final = 3_600_000
"""How far back a caller's own request id is looked for among what may not have reached the store yet."""
LATE_MS: Final = 3_600_000
"""An entry's admission is at most this far from the time in its inference id."""


class LocalJournal(Protocol):
    """What the journals of this host hold. Blocking; asked in a thread."""

    def closed_entries(self, from_ms: int, to_ms: int, *, holding: str = "") -> Iterable[ClosedEntry]:
        """Those admitted in a period, `to_ms` exclusive, shipped or not; with `holding` those with this text."""
        ...

    def told(self, inference_id: str, at_ms: int, *, ended: bool = False) -> Told:
        """How a request began whose id was made at this time, why it went where it went, and its closed attempts; of
        the latter nothing is needed where it is `ended`."""
        ...


class NoJournal:
    """For a host that serves no requests."""

    def closed_entries(self, from_ms: int, to_ms: int, *, holding: str = "") -> Iterable[ClosedEntry]:
        return ()

    def told(self, inference_id: str, at_ms: int, *, ended: bool = False) -> Told:
        return Told(None, [])


@dataclass(frozen=True, slots=True)
class Reports:
    """`zone` is the mapping table's, for periods, and for teams without one of their own."""

    store: Store
    zone: Callable[[], str]
    journal: LocalJournal = field(default_factory=NoJournal)
    stories_d: int = KEEP.stories_d
    """How far back requests are looked for."""

    def zone_info(self) -> ZoneInfo:
        return ZoneInfo(self.zone())

    async def teams(self) -> Teams:
        return Teams.of(await self.store.teams(deleted=True), self.zone())

    async def team_ids(self, names: Iterable[str]) -> list[str]:
        """Ids of teams by name or id, deleted ones by id. Raises NotFound (`team_not_found`)."""
        found = []
        for name in names:
            team = await self.store.find_team(name)
            if team is None:
                raise NotFound(f"there is no team {name[:64]!r}", code="team_not_found")
            found.append(team.id)
        return found

    async def usage(self, query: UsageQuery, team_ids: Sequence[str] | None = None) -> Report:
        """`team_ids` None: all teams."""
        query, teams = whole_hours(query), await self.teams()
        if query.tag is None:
            cells = await self.store.usage(from_ms=query.from_ms, to_ms=query.to_ms, team_ids=team_ids)
            return report(query, teams, cells)
        return await self._by_tag(query, query.tag, teams, teams.by_id if team_ids is None else team_ids)

    async def _by_tag(self, query: UsageQuery, tag: str, teams: Teams, team_ids: Collection[str]) -> Report:
        """Whole days, of each team's own zone: so teams are asked for by zone."""
        cells: list[UsageCell] = []
        tagged: list[tuple[str, UsageCell]] = []
        for zone, ids in groupby(sorted(team_ids, key=teams.zone_of), key=teams.zone_of):
            days, of_zone = whole_days(query, zone), list(ids)
            cells += await self.store.usage(from_ms=days.from_ms, to_ms=days.to_ms, team_ids=of_zone)
            tagged += await self.store.tag_usage(tag, from_ms=days.from_ms, to_ms=days.to_ms, team_ids=of_zone)
        return report(query, teams, cells, tagged)

    async def attempts(self, query: UsageQuery, team_ids: Sequence[str] | None = None) -> list[ClosedEntry]:
        """Every attempt of a period, for an export."""
        kept = await self.store.entries(from_ms=query.from_ms, to_ms=query.to_ms, team_ids=team_ids)
        local = await self._local(query.from_ms, query.to_ms)
        return attempts(kept, local, from_ms=query.from_ms, to_ms=query.to_ms, team_ids=team_ids)

    async def story(self, request: str, *, team: Team | None = None, now_ms: int) -> Story:
        """What became of a request. With `team` only one of that team's, which may name it by its own request id, too:
        then the newest counts. Raises NotFound (`request_not_found`), the same for another team's and for none."""
        story = await self._told(request, await self.store.story(request, team_ids=None if team is None else [team.id]))
        if team is not None and (story is None or story.head.team_id != team.id):
            labelled = await self._labelled(request, team, now_ms)
            story = await self._told(labelled[0].inference_id, labelled) if labelled else None
        if story is None:
            raise NotFound(f"there is no request {request[:128]!r}, or no longer", code="request_not_found")
        return replace(story, team_name=(await self.teams()).name(story.head.team_id))

    async def story_here(self, inference_id: str) -> Story | None:
        """The same by the journals of this host alone, the team by its id; None where they know nothing of it."""
        return await self._told(inference_id, [])

    async def _told(self, inference_id: str, kept: list[ClosedEntry]) -> Story | None:
        """What a store has of a request, and what the journals of this host have of it, as one."""
        ended, began_ms = any(entry.last for entry in kept), milliseconds_of(inference_id)
        told = Told(None, [])
        if began_ms:
            told = await asyncio.to_thread(self.journal.told, inference_id, began_ms, ended=ended)
        entries = kept if ended else _united(kept, told.entries)
        head = entries[0] if entries else None if told.begun is None else told.begun.intent
        return None if head is None else Story(head, head.team_id, entries, told.begun)

    async def costs(self, inference_ids: Collection[str], team: Team, now_ms: int) -> dict[str, int]:
        """Nano-USD by inference id, of those requests that were billed to a team and have ended; what is unknown, still
        running or without a price is left out."""
        began = {one: milliseconds_of(one) for one in inference_ids}
        kept_from_ms = now_ms - self.stories_d * DAY_MS
        times = [began_ms for began_ms in began.values() if kept_from_ms <= began_ms <= now_ms + LATE_MS]
        if not times:
            return {}
        from_ms, to_ms = min(times) - LATE_MS, max(times) + LATE_MS
        kept = await self.store.entries(from_ms=from_ms, to_ms=to_ms, team_ids=[team.id])
        local = (entry for entry in await self._local(from_ms, to_ms) if entry.team_id == team.id)
        charges: dict[str, list[int | None]] = {}
        ended = set()
        for entry in _united(kept, local):
            if entry.inference_id in began:
                charges.setdefault(entry.inference_id, []).append(charge_of(entry))
                if entry.last:
                    ended.add(entry.inference_id)
        known = {one: [charge for charge in charges[one] if charge is not None] for one in began if one in ended}
        return {one: sum(found) for one, found in known.items() if len(found) == len(charges[one])}

    async def entries_of(self, inference_id: str) -> list[ClosedEntry]:
        """The closed entries of one request, with those that only a journal of this host has yet."""
        story = await self._told(inference_id, await self.store.story(inference_id))
        return [] if story is None else list(story.entries)

    async def _labelled(self, label: str, team: Team, now_ms: int) -> list[ClosedEntry]:
        """The entries of the newest request of a team that its caller gave this id."""
        from_ms, to_ms = now_ms - self.stories_d * DAY_MS, now_ms + LATE_MS
        kept = await self.store.entries(from_ms=from_ms, to_ms=to_ms, team_ids=[team.id], request_id=label)
        local = await asyncio.to_thread(
            lambda: [
                entry
                for entry in self.journal.closed_entries(now_ms - UNSHIPPED_MS, to_ms, holding=label)
                if entry.team_id == team.id and entry.request_id == label
            ]
        )
        entries = _united(kept, local)
        newest = max(entries, key=lambda entry: (entry.at_ms, entry.inference_id), default=None)
        return [entry for entry in entries if newest is not None and entry.inference_id == newest.inference_id]

    async def _local(self, from_ms: int, to_ms: int) -> list[ClosedEntry]:
        return await asyncio.to_thread(lambda: list(self.journal.closed_entries(from_ms, to_ms)))


def _united(kept: Iterable[ClosedEntry], local: Iterable[ClosedEntry]) -> list[ClosedEntry]:
    """Each attempt once, in the order of attempts; the store's word counts first."""
    found: dict[tuple[str, int], ClosedEntry] = {}
    for entries in (kept, local):
        for entry in entries:
            found.setdefault((entry.inference_id, entry.number), entry)
    return sorted(found.values(), key=lambda entry: (entry.inference_id, entry.number))
