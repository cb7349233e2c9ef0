"""Teams, keys and the audit log in SQLite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import replace

from gateway.store import documents
from gateway.store.base import AuditEntry, Changed, NameTaken
from gateway.store.sqlite.database import Database
from gateway.tenants import Key, Organisation, Team


class SqliteTenants:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_team(self, team: Team) -> None:
        await self._database.call(_save_team, team, team)

    async def save_team(self, team: Team) -> None:
        await self._database.call(_save_team, team, replace(team, revision=team.revision + 1))

    async def teams(self, *, deleted: bool = False) -> list[Team]:
        return await self._database.call(_teams, deleted)

    async def find_team(self, name_or_id: str) -> Team | None:
        return await self._database.call(_find_team, name_or_id)

    async def organisation(self) -> Organisation:
        return await self._database.call(_organisation)

    async def save_organisation(self, organisation: Organisation) -> None:
        await self._database.call(_save_organisation, organisation)

    async def create_key(self, key: Key) -> None:
        await self._database.call(_save_key, key, key)

    async def save_key(self, key: Key) -> None:
        await self._database.call(_save_key, key, replace(key, revision=key.revision + 1))

    async def keys(self, team_id: str) -> list[Key]:
        return await self._database.call(_keys, team_id)

    async def touch_keys(self, used: Mapping[tuple[str, str], int]) -> None:
        await self._database.call(_touch_keys, used)

    async def find_key(self, digest: str) -> tuple[Key, Team] | None:
        return await self._database.call(_find_key, digest, time.time_ns() // 1_000_000)

    async def append_audit(self, entry: AuditEntry) -> bool:
        await self._database.call(_append_audit, entry)
        return True

    async def audit(self, *, limit: int = 1000) -> list[AuditEntry]:
        return await self._database.read(_audit, limit)


def _save_team(connection: sqlite3.Connection, team: Team, kept: Team) -> None:
    row = connection.execute("SELECT document FROM team WHERE id = ?", (team.id,)).fetchone()
    if row is not None and documents.read_team(row[0]).revision != team.revision:
        raise Changed
    try:
        connection.execute(
            "INSERT INTO team VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "name = excluded.name, deleted = excluded.deleted, document = excluded.document",
            (team.id, team.name, team.deleted_at_ms is not None, documents.write(kept)),
        )
    except sqlite3.IntegrityError as error:
        raise NameTaken(team.name) from error


def _teams(connection: sqlite3.Connection, deleted: bool) -> list[Team]:
    rows = connection.execute("SELECT document FROM team WHERE deleted <= ? ORDER BY name, id", (deleted,))
    return [documents.read_team(row[0]) for row in rows]


def _find_team(connection: sqlite3.Connection, name_or_id: str) -> Team | None:
    row = connection.execute(
        "SELECT document FROM team WHERE (name = ? AND NOT deleted) OR id = ?", (name_or_id, name_or_id)
    ).fetchone()
    return None if row is None else documents.read_team(row[0])


def _save_key(connection: sqlite3.Connection, key: Key, kept: Key) -> None:
    row = connection.execute("SELECT document FROM key WHERE id = ?", (key.id,)).fetchone()
    before = key if row is None else documents.read_key(row[0])
    if before.revision != key.revision:
        raise Changed
    last_used_at_ms = max(before.last_used_at_ms or 0, key.last_used_at_ms or 0) or None
    _keep_key(connection, replace(kept, last_used_at_ms=last_used_at_ms))


def _organisation(connection: sqlite3.Connection) -> Organisation:
    row = connection.execute("SELECT document FROM organisation").fetchone()
    return Organisation() if row is None else documents.read_organisation(row[0])


def _save_organisation(connection: sqlite3.Connection, organisation: Organisation) -> None:
    connection.execute("INSERT OR REPLACE INTO organisation VALUES (1, ?)", (documents.write(organisation),))


def _keep_key(connection: sqlite3.Connection, key: Key) -> None:
    connection.execute(
        "INSERT INTO key VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
        "digest = excluded.digest, old_digest = excluded.old_digest, document = excluded.document",
        (key.id, key.team_id, key.digest, key.old_digest, documents.write(key)),
    )


def _keys(connection: sqlite3.Connection, team_id: str) -> list[Key]:
    rows = connection.execute("SELECT document FROM key WHERE team_id = ?", (team_id,))
    return sorted((documents.read_key(row[0]) for row in rows), key=lambda key: (key.created_at_ms, key.id))


def _touch_keys(connection: sqlite3.Connection, used: Mapping[tuple[str, str], int]) -> None:
    for (team_id, key_id), used_at_ms in used.items():
        row = connection.execute("SELECT document FROM key WHERE id = ? AND team_id = ?", (key_id, team_id)).fetchone()
        if row is not None:
            key = documents.read_key(row[0])
            if used_at_ms > (key.last_used_at_ms or 0):
                _keep_key(connection, replace(key, last_used_at_ms=used_at_ms))


def _find_key(connection: sqlite3.Connection, digest: str, now_ms: int) -> tuple[Key, Team] | None:
    rows = connection.execute(
        "SELECT key.document, team.document FROM key JOIN team ON team.id = key.team_id "
        "WHERE key.digest = ? OR key.old_digest = ?",
        (digest, digest),
    )
    for key_document, team_document in rows:
        key, team = documents.read_key(key_document), documents.read_team(team_document)
        if documents.found_by(key, team, digest, now_ms):
            return key, team
    return None


def _append_audit(connection: sqlite3.Connection, entry: AuditEntry) -> None:
    connection.execute("INSERT INTO audit VALUES (?, ?)", (entry.at_ms, documents.write(entry)))


def _audit(connection: sqlite3.Connection, limit: int) -> list[AuditEntry]:
    rows = connection.execute("SELECT document FROM audit ORDER BY rowid DESC LIMIT ?", (limit,))
    return [documents.read_audit(row[0]) for row in rows]
