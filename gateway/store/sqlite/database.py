"""The one database file and the one thread that speaks to it.

WAL, so that several worker processes share it; every call is one short transaction in the thread, so that the event
loop never waits for a disk.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from gateway.records import METRICS
from gateway.store.base import StoreAway, StoreUnfit

BUSY_TIMEOUT_MS: Final = 5000

P = ParamSpec("P")
T = TypeVar("T")

_METRIC_COLUMNS = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in METRICS)

_FIRST: Final = f"""
CREATE TABLE team (id TEXT PRIMARY KEY, name TEXT NOT NULL, deleted INTEGER NOT NULL, document TEXT NOT NULL);
CREATE UNIQUE INDEX team_name ON team (name) WHERE NOT deleted;
CREATE TABLE key (id TEXT PRIMARY KEY, team_id TEXT NOT NULL, digest TEXT NOT NULL, old_digest TEXT,
    document TEXT NOT NULL);
CREATE UNIQUE INDEX key_digest ON key (digest);
CREATE INDEX key_old_digest ON key (old_digest) WHERE old_digest IS NOT NULL;
CREATE INDEX key_team ON key (team_id);
CREATE TABLE audit (at_ms INTEGER NOT NULL, document TEXT NOT NULL);
CREATE TABLE watermark (instance TEXT, team_id TEXT, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (instance, team_id)) WITHOUT ROWID;
CREATE TABLE spent (team_id TEXT, scope TEXT, window TEXT, nano_usd INTEGER NOT NULL,
    PRIMARY KEY (team_id, scope, window)) WITHOUT ROWID;
CREATE TABLE held (team_id TEXT, scope TEXT, window TEXT, nano_usd INTEGER NOT NULL,
    PRIMARY KEY (team_id, scope, window)) WITHOUT ROWID;
CREATE TABLE hold (team_id TEXT, inference_id TEXT, lease_end_ms INTEGER NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (team_id, inference_id)) WITHOUT ROWID;
CREATE INDEX hold_lease ON hold (team_id, lease_end_ms);
CREATE TABLE slot (team_id TEXT, scope TEXT, inference_id TEXT, lease_end_ms INTEGER NOT NULL,
    PRIMARY KEY (team_id, scope, inference_id)) WITHOUT ROWID;
CREATE TABLE rate (team_id TEXT, scope TEXT, document BLOB NOT NULL, PRIMARY KEY (team_id, scope)) WITHOUT ROWID;
CREATE TABLE hour (team_id TEXT, start_ms INTEGER, key_id TEXT, hub_model TEXT, provider TEXT, {_METRIC_COLUMNS},
    PRIMARY KEY (team_id, start_ms, key_id, hub_model, provider)) WITHOUT ROWID;
CREATE TABLE tag (team_id TEXT, name TEXT, start_ms INTEGER, value TEXT, key_id TEXT, hub_model TEXT, provider TEXT,
    {_METRIC_COLUMNS}, PRIMARY KEY (team_id, name, start_ms, value, key_id, hub_model, provider)) WITHOUT ROWID;
CREATE TABLE entry (team_id TEXT, instance TEXT, seq INTEGER, inference_id TEXT NOT NULL, at_ms INTEGER NOT NULL,
    number INTEGER NOT NULL, packed BLOB NOT NULL, PRIMARY KEY (team_id, instance, seq));
CREATE INDEX entry_time ON entry (at_ms);
CREATE INDEX entry_request ON entry (inference_id);
"""
_EXPIRED: Final = """
CREATE TABLE expired (team_id TEXT, inference_id TEXT, at_ms INTEGER NOT NULL, nano_usd INTEGER NOT NULL,
    PRIMARY KEY (team_id, inference_id)) WITHOUT ROWID;
"""
_ANSWERS: Final = """
CREATE TABLE answer (team_id TEXT, place TEXT, fingerprint TEXT NOT NULL, inference_id TEXT NOT NULL,
    lease_end_ms INTEGER NOT NULL, ends_at_ms INTEGER NOT NULL, answered INTEGER NOT NULL DEFAULT 0, answer BLOB,
    PRIMARY KEY (team_id, place));
CREATE INDEX answer_end ON answer (ends_at_ms);
"""
_CROSSINGS: Final = """
CREATE TABLE crossing (team_id TEXT, mark TEXT, instance TEXT NOT NULL, noted INTEGER NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (team_id, mark)) WITHOUT ROWID;
CREATE INDEX crossing_untold ON crossing (team_id, instance) WHERE NOT noted;
"""
_WORKERS: Final = """
CREATE TABLE worker (instance TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) WITHOUT ROWID;
"""
_ORGANISATION: Final = """
CREATE TABLE organisation (one INTEGER PRIMARY KEY CHECK (one = 1), document TEXT NOT NULL);
"""
SCHEMAS: Final = (_FIRST, _EXPIRED, _ANSWERS, _CROSSINGS, _WORKERS, _ORGANISATION)
"""What each format of the file has that the one before has not."""


class Database:
    """Two connections of one file, each in a thread of its own: one for what is written and waited for, one for
    reports, which may take their time and hold nobody up. Opens at the first call. Raises StoreAway for every error of
    SQLite's."""

    def __init__(self, path: Path) -> None:
        self._writing = _Connection(path, "BEGIN IMMEDIATE", "sqlite")
        self._reading = _Connection(path, "BEGIN", "sqlite-reports")

    async def call(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Runs `function(connection, …)` as one transaction. A caller that is cancelled does not stop it half way."""
        return await self._writing.run(lambda connection: function(connection, *args, **kwargs))

    async def read(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same for what only reads: all of it sees one moment, and nobody waits for it."""
        return await self._reading.run(lambda connection: function(connection, *args, **kwargs))

    async def aclose(self) -> None:
        await self._reading.aclose()
        await self._writing.aclose()


class _Connection:
    def __init__(self, path: Path, begin: str, name: str) -> None:
        self._path = path
        self._begin = begin
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connection: sqlite3.Connection | None = None

    async def run(self, act: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, lambda: self._transact(act))
        except RuntimeError as error:
            raise StoreAway("the store is closed") from error

    async def aclose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _transact(self, act: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._open()
            connection.execute(self._begin)
            try:
                result = act(connection)
                connection.execute("COMMIT")
                return result
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreAway(f"the embedded store failed: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            _make(self._path)
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            _prepare(connection)
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _make(path: Path) -> None:
    """The file is made by us and not by SQLite, so that it is never readable by others, not even at first.

    One that is there is left alone: to close any descriptor of it ends the locks of this whole process, and the next
    other process that comes and goes would take itself for the last and throw away the log that we write into.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _prepare(connection: sqlite3.Connection) -> None:
    """Makes what tables are missing, once, whoever of several processes comes first. Raises StoreUnfit for a newer
    file."""
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(SCHEMAS):
        connection.execute("ROLLBACK")
        raise StoreUnfit(f"the embedded store has format {version}, this version reads up to {len(SCHEMAS)}")
    for schema in SCHEMAS[version:]:
        for statement in schema.split(";"):
            if statement.strip():
                connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(SCHEMAS)}")
    connection.execute("COMMIT")
