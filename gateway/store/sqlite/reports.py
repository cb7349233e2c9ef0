"""Usage and stories from SQLite. Hours are kept for good: one host's ledger is small."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.journal.entries import unpack_closed
from gateway.records import METRICS, ClosedEntry
from gateway.store.base import ExpiredHold, InvoiceLine, UsageCell
from gateway.store.sqlite.database import Database

_METRICS = ", ".join(METRICS)
_ANY_TEAM = "(? OR team_id IN (SELECT value FROM json_each(?)))"


class SqliteReports:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def usage(self, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None) -> list[UsageCell]:
        return await self._database.read(_usage, from_ms, to_ms, team_ids)

    async def spent(self, window: str) -> int:
        return await self._database.read(_spent, window)

    async def tag_usage(
        self, tag: str, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None
    ) -> list[tuple[str, UsageCell]]:
        return await self._database.read(_tag_usage, tag, from_ms, to_ms, team_ids)

    async def entries(
        self, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None, request_id: str | None = None
    ) -> list[ClosedEntry]:
        return await self._database.read(_entries, from_ms, to_ms, team_ids, request_id)

    async def story(self, inference_id: str, *, team_ids: Sequence[str] | None = None) -> list[ClosedEntry]:
        return await self._database.read(_story, inference_id, team_ids)

    async def expired_holds(
        self, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None
    ) -> list[ExpiredHold]:
        return await self._database.read(_expired_holds, from_ms, to_ms, team_ids)

    async def invoice_lines(self, team_id: str, month: str) -> list[InvoiceLine]:
        """Entries are kept for good here."""
        return []

    async def journals(self, team_id: str) -> dict[str, int]:
        return await self._database.read(_journals, team_id)

    async def journal_entries(self, team_id: str, instance: str, *, after: int, most: int) -> list[ClosedEntry]:
        return await self._database.read(_journal_entries, team_id, instance, after, most)


def _teams(team_ids: Sequence[str] | None) -> tuple[bool, str]:
    return team_ids is None, "[" + ",".join(f'"{team_id}"' for team_id in team_ids or ()) + "]"


def _cell(team_id: str, start_ms: int, rest: Sequence[str | int]) -> UsageCell:
    counters = {name: int(value) for name, value in zip(METRICS, rest[3:], strict=True) if value}
    return UsageCell(team_id, start_ms, str(rest[0]), str(rest[1]), str(rest[2]), counters)


def _usage(connection: sqlite3.Connection, from_ms: int, to_ms: int, team_ids: Sequence[str] | None) -> list[UsageCell]:
    rows = connection.execute(
        f"SELECT team_id, start_ms, key_id, hub_model, provider, {_METRICS} FROM hour "  # noqa: S608 - names of columns
        f"WHERE start_ms >= ? AND start_ms < ? AND {_ANY_TEAM} ORDER BY start_ms, team_id",
        (from_ms, to_ms, *_teams(team_ids)),
    )
    return [_cell(row[0], row[1], row[2:]) for row in rows]


def _spent(connection: sqlite3.Connection, window: str) -> int:
    rows = connection.execute("SELECT nano_usd FROM spent WHERE scope = 'team' AND window = ?", (window,))
    return sum(nano_usd for (nano_usd,) in rows)


def _tag_usage(
    connection: sqlite3.Connection, tag: str, from_ms: int, to_ms: int, team_ids: Sequence[str] | None
) -> list[tuple[str, UsageCell]]:
    rows = connection.execute(
        f"SELECT value, team_id, start_ms, key_id, hub_model, provider, {_METRICS} FROM tag "  # noqa: S608
        f"WHERE name = ? AND start_ms >= ? AND start_ms < ? AND {_ANY_TEAM} ORDER BY start_ms, team_id, value",
        (tag, from_ms, to_ms, *_teams(team_ids)),
    )
    return [(row[0], _cell(row[1], row[2], row[3:])) for row in rows]


def _entries(
    connection: sqlite3.Connection,
    from_ms: int,
    to_ms: int,
    team_ids: Sequence[str] | None,
    request_id: str | None,
) -> list[ClosedEntry]:
    rows = connection.execute(
        f"SELECT packed FROM entry WHERE at_ms >= ? AND at_ms < ? AND {_ANY_TEAM} "  # noqa: S608
        # Looked for in the packed form first: to unpack a week of entries for one of them takes seconds.
        "AND (? IS NULL OR instr(packed, ?)) ORDER BY at_ms, inference_id, number, instance, seq",
        (from_ms, to_ms, *_teams(team_ids), request_id, (request_id or "").encode()),
    )
    found = (unpack_closed(row[0]) for row in rows)
    return [entry for entry in found if request_id is None or entry.request_id == request_id]


def _story(connection: sqlite3.Connection, inference_id: str, team_ids: Sequence[str] | None) -> list[ClosedEntry]:
    rows = connection.execute(
        f"SELECT packed FROM entry WHERE inference_id = ? AND {_ANY_TEAM} ORDER BY number",  # noqa: S608
        (inference_id, *_teams(team_ids)),
    )
    return [unpack_closed(row[0]) for row in rows]


def _expired_holds(
    connection: sqlite3.Connection, from_ms: int, to_ms: int, team_ids: Sequence[str] | None
) -> list[ExpiredHold]:
    rows = connection.execute(
        "SELECT team_id, inference_id, at_ms, nano_usd FROM expired "  # noqa: S608
        f"WHERE at_ms >= ? AND at_ms < ? AND {_ANY_TEAM} ORDER BY at_ms, inference_id",
        (from_ms, to_ms, *_teams(team_ids)),
    )
    return [ExpiredHold(*row) for row in rows]


def _journals(connection: sqlite3.Connection, team_id: str) -> dict[str, int]:
    return dict(
        connection.execute("SELECT instance, seq FROM watermark WHERE team_id = ? ORDER BY instance", (team_id,))
    )


def _journal_entries(
    connection: sqlite3.Connection, team_id: str, instance: str, after: int, most: int
) -> list[ClosedEntry]:
    rows = connection.execute(
        "SELECT packed FROM entry WHERE team_id = ? AND instance = ? AND seq > ? ORDER BY seq LIMIT ?",
        (team_id, instance, after, most),
    )
    return [unpack_closed(row[0]) for row in rows]
