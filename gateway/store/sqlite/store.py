"""The embedded store: one SQLite file for all workers of one host."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.records import Admit
from gateway.store.board import Board
from gateway.store.local_board import LocalBoard
from gateway.store.sqlite.answers import SqliteAnswers
from gateway.store.sqlite.database import Database
from gateway.store.sqlite.ledger import SqliteLedger
from gateway.store.sqlite.reports import SqliteReports
from gateway.store.sqlite.tenants import SqliteTenants

BOARD_FOLDER: Final = "health"


class SqliteStore(SqliteTenants, SqliteLedger, SqliteAnswers, SqliteReports):
    """See `gateway.store.base.Store`."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._board_folder = path.parent / BOARD_FOLDER

    def board(self, instance: str) -> Board:
        return LocalBoard(self._board_folder, instance)

    def on_change(self, heard: Callable[[], None]) -> None:
        """A file does not go back under those who have it open."""

    async def hold_again(self, requests: Sequence[Admit]) -> None:
        """Nothing was lost."""

    async def ping(self) -> None:
        await self._database.call(_ping)

    async def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def aclose(self) -> None:
        await self._database.aclose()


def _ping(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT 1").fetchone()
