"""Thresholds of budgets that were reached, in SQLite: each once for each window, and told until somebody notes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from gateway.records import BudgetTaken, Crossing, Run
from gateway.store.thresholds import thresholds_of

_encode = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(Crossing).decode


def note_reached(connection: sqlite3.Connection, run: Run, taken: BudgetTaken, spent: int, now_ms: int) -> None:
    """Takes down the thresholds that are reached for the first time."""
    reached = [
        Crossing(run.team_id, taken.scope, taken.window, percent, taken.nano_usd, spent, now_ms)
        for percent, reached_at, _ in thresholds_of(taken)
        if spent >= reached_at
    ]
    connection.executemany(
        "INSERT OR IGNORE INTO crossing VALUES (?, ?, ?, 0, ?)",
        [(run.team_id, crossing.mark, run.instance, _encode(crossing)) for crossing in reached],
    )


def begin(connection: sqlite3.Connection, instance: str, crossing: Crossing) -> bool:
    """Whether nobody had noted this threshold before."""
    return (
        connection.execute(
            "INSERT OR IGNORE INTO crossing VALUES (?, ?, ?, 0, ?)",
            (crossing.team_id, crossing.mark, instance, _encode(crossing)),
        ).rowcount
        == 1
    )


def unnoted(connection: sqlite3.Connection, instance: str, team_ids: Sequence[str]) -> list[Crossing]:
    """What runs of this journal crossed, and nobody has noted."""
    rows = [
        row
        for team_id in team_ids
        for row in connection.execute(
            "SELECT document FROM crossing WHERE team_id = ? AND instance = ? AND NOT noted", (team_id, instance)
        )
    ]
    return [_read(document) for (document,) in rows]


def note(connection: sqlite3.Connection, crossings: Sequence[Crossing]) -> None:
    connection.executemany(
        "UPDATE crossing SET noted = 1 WHERE team_id = ? AND mark = ?",
        [(crossing.team_id, crossing.mark) for crossing in crossings],
    )
