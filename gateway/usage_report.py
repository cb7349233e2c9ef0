"""What was used, as rows: the store's cells summed by team, key, model, provider, day, hour or one tag. Pure.

Every row is a sum over the same cells, so the rows of any grouping add up to the total. Days and hours are those of the
team's own time zone, as its budgets are. Amounts stay integers until they are written as decimal texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.csv_text import csv_text
from gateway.errors import InvalidRequest
from gateway.moments import format_moment, parse_moment, start_of_month
from gateway.money import format_usd
from gateway.periods import HOUR_MS, day_start_ms, hour_of
from gateway.records import METRICS
from gateway.store.base import UsageCell
from gateway.suggest import did_you_mean
from gateway.tenants import Team

GROUPS: Final = ("team", "key", "model", "provider", "day", "hour")
FORMATS: Final = ("json", "csv")
_TAG: Final = re.compile(r"tag:([a-z0-9_-]{1,32})")

COUNTS: Final = (
    "requests",
    "failed_requests",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "estimated_requests",
    "unknown_requests",
    "unpriced_requests",
    "lost_entries",
)

JsonObject = dict[str, Any]
Group = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked: `to_ms` is exclusive; `tag` is the one tag among the groups."""

    from_ms: int
    to_ms: int
    groups: tuple[str, ...] = ()
    """Of `GROUPS`, and `tag` where one is asked for, in the order in which they were named."""
    tag: str | None = None


def read_query(
    *, from_text: str | None, to_text: str | None, group_by: str | None, now_ms: int, zone: ZoneInfo
) -> UsageQuery:
    """A query from its texts; without a period this month until now, in `zone`. Raises InvalidRequest."""
    from_ms = _moment(from_text, "from", zone) if from_text else start_of_month(now_ms, zone)
    # The cell of the hour that is running begins before now, so it is always in.
    to_ms = _moment(to_text, "to", zone) if to_text else max(now_ms, from_ms) + 1
    if to_ms <= from_ms:
        raise InvalidRequest("to must be later than from", param="to")
    groups: list[str] = []
    tag = None
    for name in (part.strip() for part in (group_by or "").split(",") if part.strip()):
        match = _TAG.fullmatch(name)
        if match is not None and tag is None:
            tag, name = match[1], "tag"
        elif match is not None:
            raise InvalidRequest("group_by takes at most one tag", param="group_by")
        elif name not in GROUPS:
            hint = did_you_mean(name, GROUPS)
            raise InvalidRequest(
                f"group_by: {name[:64]!r} is none of {', '.join(GROUPS)}, tag:NAME.{hint}", param="group_by"
            )
        if name not in groups:
            groups.append(name)
    if tag is not None and "hour" in groups:
        raise InvalidRequest("group_by: tags are counted by day and cannot be shown by hour", param="group_by")
    return UsageQuery(from_ms, to_ms, tuple(groups), tag)


def _moment(text: str, param: str, zone: ZoneInfo) -> int:
    try:
        return parse_moment(text, zone)
    except ValueError as error:
        raise InvalidRequest(f"{param}: {error}", param=param) from None


@dataclass(frozen=True, slots=True)
class Teams:
    """Names and zones of teams by id, those of deleted teams too, whose usage stays."""

    zone: str
    """Of teams that have none of their own."""
    by_id: Mapping[str, Team] = field(default_factory=dict)

    @classmethod
    def of(cls, teams: Iterable[Team], zone: str) -> Teams:
        return cls(zone, {team.id: team for team in teams})

    def name(self, team_id: str) -> str:
        """The name; with the id beside it where a deleted team's name was given to another."""
        team = self.by_id.get(team_id)
        if team is None:
            return team_id
        shared = team.deleted_at_ms is not None and any(
            other.name == team.name and other.id != team_id for other in self.by_id.values()
        )
        return f"{team.name} ({team_id})" if shared else team.name

    def zone_of(self, team_id: str) -> str:
        team = self.by_id.get(team_id)
        return (team.timezone if team is not None else None) or self.zone


def whole_hours(query: UsageQuery) -> UsageQuery:
    """The query widened to whole hours: usage is kept by the hour, so one that a period only touches is in it whole.

    An hour is in a period when it begins before its end, so the end stays: some zones' hours begin at half past.
    """
    return UsageQuery(query.from_ms // HOUR_MS * HOUR_MS, query.to_ms, query.groups, query.tag)


def whole_days(query: UsageQuery, zone: str) -> UsageQuery:
    """The query widened to whole days of a zone: tags are counted by day, and their days must meet the same hours."""
    first = hour_of(query.from_ms, zone).day
    last = datetime.fromisoformat(hour_of(query.to_ms - 1, zone).day) + timedelta(days=1)
    return UsageQuery(day_start_ms(first, zone), day_start_ms(last.date().isoformat(), zone), query.groups, query.tag)


@dataclass(frozen=True, slots=True)
class Report:
    """The answer: rows in the order of their groups, and their sum."""

    query: UsageQuery
    rows: tuple[tuple[Group, Mapping[str, int]], ...]
    total: Mapping[str, int]

    def as_json(self, *, provider_costs: bool) -> JsonObject:
        """`{"data", "total", "from", "to"}`. What providers bill is the organisation's business alone."""
        data = [
            dict(zip(self.query.groups, group, strict=True)) | figures(sums, provider_costs=provider_costs)
            for group, sums in self.rows
        ]
        return {
            "data": data,
            "total": figures(self.total, provider_costs=provider_costs),
            "from": format_moment(self.query.from_ms),
            "to": format_moment(self.query.to_ms),
        }

    def as_csv(self, *, provider_costs: bool) -> str:
        """One line a row, without the total: the lines of a file can be added up."""
        names = tuple(figures({}, provider_costs=provider_costs))
        rows = ((*group, *figures(sums, provider_costs=provider_costs).values()) for group, sums in self.rows)
        return csv_text((*self.query.groups, *names), rows)


def figures(sums: Mapping[str, int], *, provider_costs: bool) -> JsonObject:
    """The contract's fields of a row, in its order."""
    counts = {name: sums.get(name, 0) for name in COUNTS}
    row: JsonObject = {name: counts[name] for name in COUNTS[:6]}
    row["total_tokens"] = counts["prompt_tokens"] + counts["completion_tokens"]
    row["cost_usd"] = format_usd(sums.get("charge_nano_usd", 0))
    if provider_costs:
        row["provider_cost_usd"] = format_usd(sums.get("provider_cost_nano_usd", 0))
    return row | {name: counts[name] for name in COUNTS[6:]}


def report(
    query: UsageQuery, teams: Teams, cells: Iterable[UsageCell], tagged: Sequence[tuple[str, UsageCell]] = ()
) -> Report:
    """Sums the cells by the query's groups. `tagged` holds the parts of `cells` that carry the query's tag; what is
    left of them is the row of no tag (None)."""
    sums: dict[Group, dict[str, int]] = {}
    total: dict[str, int] = {}
    for cell in cells:
        _add(sums, _group(query, teams, cell, None), cell.counters)
        for name, count in cell.counters.items():
            total[name] = total.get(name, 0) + count
    for value, cell in tagged:
        _add(sums, _group(query, teams, cell, value), cell.counters)
        _add(sums, _group(query, teams, cell, None), {name: -count for name, count in cell.counters.items()})
    rows = [(group, parts) for group, parts in sums.items() if any(parts.values())]
    rows.sort(key=lambda row: tuple((part is None, part or "") for part in row[0]))
    return Report(query, tuple(rows), total)


def _add(sums: dict[Group, dict[str, int]], group: Group, counters: Mapping[str, int]) -> None:
    parts = sums.setdefault(group, dict.fromkeys(METRICS, 0))
    for name, value in counters.items():
        parts[name] = parts.get(name, 0) + value


def _group(query: UsageQuery, teams: Teams, cell: UsageCell, tag: str | None) -> Group:
    def part(name: str) -> str | None:
        match name:
            case "team":
                return teams.name(cell.team_id)
            case "key":
                return cell.key_id
            case "model":
                return cell.hub_model
            case "provider":
                return cell.provider or None
            case "tag":
                return tag
        zone = teams.zone_of(cell.team_id)
        hour = hour_of(cell.start_ms, zone)
        return hour.day if name == "day" else format_moment(hour.start_ms, _zone_info(zone))

    return tuple(part(name) for name in query.groups)


def _zone_info(zone: str) -> Any:
    return UTC if zone == "UTC" else ZoneInfo(zone)
