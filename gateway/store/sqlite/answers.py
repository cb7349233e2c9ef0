"""What was answered under an Idempotency-Key, in SQLite: the same meaning as the scripts of Redis, in transactions."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from gateway.store.base import ANSWER_KEPT_S, Claim, Claimed
from gateway.store.sqlite.database import Database

ENDED_MAX: Final = 20
"""How many that have had their time go with each claim."""


class SqliteAnswers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim_answer(self, claim: Claim) -> Claimed | None:
        return await self._database.call(_claim, claim, time.time_ns() // 1_000_000)

    async def keep_answer(self, claim: Claim, answer: bytes | None) -> None:
        await self._database.call(_keep, claim, answer, time.time_ns() // 1_000_000)

    async def drop_claim(self, claim: Claim) -> None:
        await self._database.call(_drop, claim)


def _claim(connection: sqlite3.Connection, claim: Claim, now_ms: int) -> Claimed | None:
    connection.execute(
        "DELETE FROM answer WHERE rowid IN (SELECT rowid FROM answer WHERE ends_at_ms <= ? LIMIT ?)",
        (now_ms, ENDED_MAX),
    )
    first = connection.execute(
        "SELECT inference_id, fingerprint, lease_end_ms, answered, answer FROM answer "
        "WHERE team_id = ? AND place = ? AND ends_at_ms > ?",
        (claim.team_id, claim.place, now_ms),
    ).fetchone()
    if first is not None:
        inference_id, fingerprint, lease_end_ms, answered, answer = first
        if inference_id != claim.inference_id and (answered or inference_id != claim.instead_of):
            return Claimed(inference_id, fingerprint, now_ms > lease_end_ms, bool(answered), answer)
    _put(connection, claim, now_ms, lease_end_ms=now_ms + claim.lease_ms)
    return None


def _keep(connection: sqlite3.Connection, claim: Claim, answer: bytes | None, now_ms: int) -> None:
    first = connection.execute(
        "SELECT inference_id FROM answer WHERE team_id = ? AND place = ?", (claim.team_id, claim.place)
    ).fetchone()
    if first is None or first[0] == claim.inference_id:
        _put(connection, claim, now_ms, answered=True, answer=answer)


def _put(
    connection: sqlite3.Connection,
    claim: Claim,
    now_ms: int,
    *,
    lease_end_ms: int = 0,
    answered: bool = False,
    answer: bytes | None = None,
) -> None:
    ends_at_ms = now_ms + ANSWER_KEPT_S * 1000
    connection.execute(
        "REPLACE INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (claim.team_id, claim.place, claim.fingerprint, claim.inference_id, lease_end_ms, ends_at_ms, answered, answer),
    )


def _drop(connection: sqlite3.Connection, claim: Claim) -> None:
    connection.execute(
        "DELETE FROM answer WHERE team_id = ? AND place = ? AND inference_id = ? AND NOT answered",
        (claim.team_id, claim.place, claim.inference_id),
    )
