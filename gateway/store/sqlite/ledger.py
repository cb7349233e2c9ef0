"""Admission and settlement in SQLite: the same meaning as `redis/admit.lua` and `redis/settle.lua`, in transactions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.ids import milliseconds_of
from gateway.journal.entries import pack_closed
from gateway.periods import windows_of
from gateway.records import METRICS, Admission, Admit, ClosedEntry, Crossing, Refusal, Run, Scope, Settled
from gateway.store.base import STALE_AFTER_MS, WORKER_GONE_MS
from gateway.store.fold import OTHER_VALUE, TAG_VALUES_MAX, Cell, Ended, sum_run
from gateway.store.rates import RateWindow, reset_s, used, wait_s
from gateway.store.sqlite.crossings import begin, note, note_reached, unnoted
from gateway.store.sqlite.database import Database
from gateway.store.thresholds import overrun_nano_usd

SLOT_LEASE_MS: Final = 60_000


class Hold(msgspec.Struct, frozen=True):
    """What admission took and settlement gives back."""

    nano_usd: int
    windows: list[tuple[str, str]]
    """(scope, window) of each budget that it is held against."""
    scopes: list[str]
    tokens: int
    second: int


_encode = msgspec.json.Encoder().encode
_read_hold = msgspec.json.Decoder(Hold).decode
_read_rate = msgspec.json.Decoder(RateWindow).decode


class SqliteLedger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def admit(self, requests: Sequence[Admit]) -> list[Admission | Refusal]:
        return await self._database.call(_admit_all, requests)

    async def settle(self, run: Run) -> Settled:
        return await self._database.call(_settle, run)

    async def renew(self, team_id: str, scope_id: str, inference_ids: Sequence[str]) -> None:
        await self._database.call(_renew, team_id, scope_id, inference_ids)

    async def sweep_holds(self) -> int:
        return await self._database.call(_end_expired, None, _now_ms())

    async def watermarks(self, instance: str, team_ids: Iterable[str]) -> dict[str, int]:
        return await self._database.call(_watermarks, instance, list(team_ids))

    async def count_workers(self, instance: str) -> tuple[int, int]:
        return await self._database.call(_count_workers, instance)

    async def crossings(self, instance: str, team_ids: Iterable[str]) -> list[Crossing]:
        return await self._database.call(unnoted, instance, list(team_ids))

    async def begin_crossing(self, instance: str, crossing: Crossing) -> bool:
        return await self._database.call(begin, instance, crossing)

    async def note_crossings(self, crossings: Sequence[Crossing]) -> None:
        await self._database.call(note, crossings)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _admit_all(connection: sqlite3.Connection, requests: Sequence[Admit]) -> list[Admission | Refusal]:
    now_ms = _now_ms()
    return [_admit(connection, request, now_ms) for request in requests]


def _admit(connection: sqlite3.Connection, request: Admit, now_ms: int) -> Admission | Refusal:
    if now_ms > request.not_after_ms:
        return Refusal(request.inference_id, now_ms, "late", "team", 1.0)
    team_id = request.team_id
    _end_expired(connection, team_id, now_ms)
    known = connection.execute(
        "SELECT 1 FROM hold WHERE team_id = ? AND inference_id = ?", (team_id, request.inference_id)
    ).fetchone()
    rates = {scope.id: _rate(connection, team_id, scope.id, now_ms) for scope in request.scopes}
    if known is None:
        for scope in request.scopes:
            refusal = _refuse(connection, request, scope, rates[scope.id], now_ms)
            if refusal is not None:
                return refusal
        _take(connection, request, rates, now_ms)
    remaining = {scope.id: _remaining(connection, team_id, scope, rates[scope.id]) for scope in request.scopes}
    return Admission(request.inference_id, now_ms, remaining)


def _refuse(
    connection: sqlite3.Connection, request: Admit, scope: Scope, rate: RateWindow, now_ms: int
) -> Refusal | None:
    def refusal(reason: str, retry_after_s: float, spent: int = 0, held: int = 0) -> Refusal:
        remaining = {scope.id: _remaining(connection, request.team_id, scope, rate)}
        return Refusal(request.inference_id, now_ms, reason, scope.id, retry_after_s, spent, held, remaining)

    if scope.budget_nano_usd is not None and scope.strict:
        spent, held = _spent_and_held(connection, request.team_id, scope)
        if spent + held + request.hold_nano_usd > scope.budget_nano_usd:
            wait_ms = (scope.budget_resets_at_ms or now_ms) - now_ms
            return refusal("budget", max(wait_ms, 0) / 1000, spent, held)
    if scope.requests_per_minute is not None:
        wait = wait_s(rate.requests, rate.second, scope.requests_per_minute, 1)
        if wait:
            return refusal("requests", wait)
    if scope.tokens_per_minute is not None:
        wait = wait_s(rate.tokens, rate.second, scope.tokens_per_minute, request.tokens)
        if wait:
            return refusal("tokens", wait)
    if scope.concurrency is not None and _slots(connection, request.team_id, scope.id, now_ms) >= scope.concurrency:
        return refusal("concurrency", 1.0)
    return None


def _take(connection: sqlite3.Connection, request: Admit, rates: Mapping[str, RateWindow], now_ms: int) -> None:
    windows = [(scope.id, scope.budget_window) for scope in request.scopes if scope.budget_nano_usd is not None]
    _add_held(connection, request.team_id, windows, request.hold_nano_usd)
    hold = Hold(request.hold_nano_usd, windows, [scope.id for scope in request.scopes], request.tokens, now_ms // 1000)
    connection.execute(
        "INSERT INTO hold VALUES (?, ?, ?, ?)",
        (request.team_id, request.inference_id, now_ms + request.lease_ms, _encode(hold)),
    )
    for scope in request.scopes:
        rates[scope.id].take(1, request.tokens)
        _keep_rate(connection, request.team_id, scope.id, rates[scope.id])
        if scope.concurrency is not None:
            connection.execute(
                "INSERT OR REPLACE INTO slot VALUES (?, ?, ?, ?)",
                (request.team_id, scope.id, request.inference_id, now_ms + SLOT_LEASE_MS),
            )


def _remaining(connection: sqlite3.Connection, team_id: str, scope: Scope, rate: RateWindow) -> dict[str, int]:
    left: dict[str, int] = {}
    if scope.budget_nano_usd is not None:
        left["budget_nano_usd"] = scope.budget_nano_usd - sum(_spent_and_held(connection, team_id, scope))
    if scope.requests_per_minute is not None:
        left["requests"] = max(0, scope.requests_per_minute - used(rate.requests))
        left["reset_requests_s"] = reset_s(rate.requests, rate.second)
    if scope.tokens_per_minute is not None:
        left["tokens"] = max(0, scope.tokens_per_minute - used(rate.tokens))
        left["reset_tokens_s"] = reset_s(rate.tokens, rate.second)
    if scope.concurrency is not None:
        left["slots"] = max(0, scope.concurrency - _slots(connection, team_id, scope.id, _now_ms()))
    return left


def _spent_and_held(connection: sqlite3.Connection, team_id: str, scope: Scope) -> tuple[int, int]:
    held = connection.execute(
        "SELECT nano_usd FROM held WHERE team_id = ? AND scope = ? AND window = ?",
        (team_id, scope.id, scope.budget_window),
    ).fetchone()
    return _spent(connection, team_id, scope.id, scope.budget_window), held[0] if held else 0


def _spent(connection: sqlite3.Connection, team_id: str, scope_id: str, window: str) -> int:
    spent = connection.execute(
        "SELECT nano_usd FROM spent WHERE team_id = ? AND scope = ? AND window = ?", (team_id, scope_id, window)
    ).fetchone()
    return spent[0] if spent else 0


def _add_held(connection: sqlite3.Connection, team_id: str, windows: Iterable[tuple[str, str]], nano_usd: int) -> None:
    connection.executemany(
        "INSERT INTO held VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET nano_usd = nano_usd + excluded.nano_usd",
        [(team_id, scope, window, nano_usd) for scope, window in windows],
    )


def _slots(connection: sqlite3.Connection, team_id: str, scope: str, now_ms: int) -> int:
    connection.execute(
        "DELETE FROM slot WHERE team_id = ? AND scope = ? AND lease_end_ms <= ?", (team_id, scope, now_ms)
    )
    row = connection.execute("SELECT count(*) FROM slot WHERE team_id = ? AND scope = ?", (team_id, scope)).fetchone()
    return int(row[0])


def _rate(connection: sqlite3.Connection, team_id: str, scope: str, now_ms: int) -> RateWindow:
    row = connection.execute("SELECT document FROM rate WHERE team_id = ? AND scope = ?", (team_id, scope)).fetchone()
    rate = RateWindow() if row is None else _read_rate(row[0])
    rate.advance(now_ms // 1000)
    return rate


def _keep_rate(connection: sqlite3.Connection, team_id: str, scope: str, rate: RateWindow) -> None:
    connection.execute("INSERT OR REPLACE INTO rate VALUES (?, ?, ?)", (team_id, scope, _encode(rate)))


def _end_expired(connection: sqlite3.Connection, team_id: str | None, now_ms: int) -> int:
    """Ends the overdue holds of a team, or of all; each stays on record until its request is settled."""
    rows = connection.execute(
        "SELECT team_id, inference_id FROM hold WHERE (team_id = ? OR ? IS NULL) AND lease_end_ms <= ?",
        (team_id, team_id, now_ms),
    ).fetchall()
    for of_team, inference_id in rows:
        hold = _end_hold(connection, of_team, inference_id, None, now_ms)
        if hold is not None:
            connection.execute(
                "INSERT OR REPLACE INTO expired VALUES (?, ?, ?, ?)",
                (of_team, inference_id, milliseconds_of(inference_id) or 0, hold.nano_usd),
            )
    return len(rows)


def _end_hold(
    connection: sqlite3.Connection, team_id: str, inference_id: str, tokens: int | None, now_ms: int
) -> Hold | None:
    """Gives back what was held. `tokens` is what the request really took; None leaves the rate as it was."""
    row = connection.execute(
        "DELETE FROM hold WHERE team_id = ? AND inference_id = ? RETURNING document", (team_id, inference_id)
    ).fetchall()
    if not row:
        return None
    hold = _read_hold(row[0][0])
    _add_held(connection, team_id, hold.windows, -hold.nano_usd)
    for scope in hold.scopes:
        connection.execute(
            "DELETE FROM slot WHERE team_id = ? AND scope = ? AND inference_id = ?", (team_id, scope, inference_id)
        )
        if tokens is not None and tokens != hold.tokens:
            rate = _rate(connection, team_id, scope, now_ms)
            rate.correct(hold.second, tokens - hold.tokens)
            _keep_rate(connection, team_id, scope, rate)
    return hold


def _settle(connection: sqlite3.Connection, run: Run) -> Settled:
    now_ms = _now_ms()
    row = connection.execute(
        "SELECT seq FROM watermark WHERE instance = ? AND team_id = ?", (run.instance, run.team_id)
    ).fetchone()
    have = row[0] if row else 0
    if row is None and not run.replayed and run.entries[0].at_ms < now_ms - STALE_AFTER_MS:
        return Settled("stale", 0)
    if have != run.believed_watermark:
        return Settled("gap", have, tuple(unnoted(connection, run.instance, [run.team_id])))
    last = run.entries[-1].seq
    connection.execute(
        "INSERT OR REPLACE INTO watermark VALUES (?, ?, ?, ?)", (run.instance, run.team_id, last, now_ms)
    )
    overrun = _add_run(connection, run, now_ms)
    return Settled("applied", last, tuple(unnoted(connection, run.instance, [run.team_id])), overrun)


def _add_run(connection: sqlite3.Connection, run: Run, now_ms: int) -> int:
    """How far the run went past a strict budget."""
    team_id = run.team_id
    sums = sum_run(run.entries)
    for cell, counters in sums.hours.items():
        _add_counters(connection, "hour", (team_id, *cell), counters)
    for (name, value, cell), counters in sums.tags.items():
        kept = _tag_value(connection, team_id, name, value, cell)
        _add_counters(connection, "tag", (team_id, name, cell[0], kept, *cell[1:]), counters)
    connection.executemany(
        "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET nano_usd = nano_usd + excluded.nano_usd",
        [
            (team_id, scope, window, charge)
            for scope, charge in sums.spent.items()
            for window in windows_of(run.entries[0].day)
        ],
    )
    if connection.execute("SELECT 1 FROM hold WHERE team_id = ? LIMIT 1", (team_id,)).fetchone() is not None:
        for ended in sums.ended:
            _end(connection, team_id, ended)
    connection.executemany(
        "DELETE FROM expired WHERE team_id = ? AND inference_id = ?",
        [(team_id, ended.inference_id) for ended in sums.ended],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)",
        [_entry_row(team_id, run.instance, entry) for entry in run.entries],
    )
    overrun = 0
    for taken in sums.budgets.values():
        spent = _spent(connection, team_id, taken.scope, taken.window)
        note_reached(connection, run, taken, spent, now_ms)
        overrun = max(overrun, overrun_nano_usd(taken, spent - sums.spent[taken.scope], spent))
    return overrun


def _end(connection: sqlite3.Connection, team_id: str, ended: Ended) -> None:
    _end_hold(connection, team_id, ended.inference_id, ended.tokens, _now_ms())


def _entry_row(team_id: str, instance: str, entry: ClosedEntry) -> tuple[str, str, int, str, int, int, bytes]:
    return team_id, instance, entry.seq, entry.inference_id, entry.at_ms, entry.number, pack_closed(entry)


def _add_counters(
    connection: sqlite3.Connection, table: str, key: tuple[str | int, ...], counters: Mapping[str, int]
) -> None:
    marks = ", ".join("?" * (len(key) + len(METRICS)))
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in METRICS)
    values = [counters.get(name, 0) for name in METRICS]
    connection.execute(
        f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT DO UPDATE SET {sums}",  # noqa: S608 - our own names
        (*key, *values),
    )


def _tag_value(connection: sqlite3.Connection, team_id: str, name: str, value: str, cell: Cell) -> str:
    """The value itself, or `~other` where the team has had too many of this tag on this day."""
    where = (team_id, name, cell[0])
    known = connection.execute(
        "SELECT 1 FROM tag WHERE team_id = ? AND name = ? AND start_ms = ? AND value = ? LIMIT 1", (*where, value)
    ).fetchone()
    if known:
        return value
    count = connection.execute(
        "SELECT count(DISTINCT value) FROM tag WHERE team_id = ? AND name = ? AND start_ms = ?", where
    ).fetchone()[0]
    return value if count < TAG_VALUES_MAX else OTHER_VALUE


def _renew(connection: sqlite3.Connection, team_id: str, scope_id: str, inference_ids: Sequence[str]) -> None:
    until_ms = _now_ms() + SLOT_LEASE_MS
    connection.executemany(
        "UPDATE slot SET lease_end_ms = ? WHERE team_id = ? AND scope = ? AND inference_id = ?",
        [(until_ms, team_id, scope_id, inference_id) for inference_id in inference_ids],
    )


def _count_workers(connection: sqlite3.Connection, instance: str) -> tuple[int, int]:
    now_ms = _now_ms()
    connection.execute("INSERT OR REPLACE INTO worker VALUES (?, ?)", (instance, now_ms))
    connection.execute("DELETE FROM worker WHERE at_ms < ?", (now_ms - WORKER_GONE_MS,))
    row = connection.execute("SELECT count(*) FROM worker").fetchone()
    return int(row[0]), now_ms


def _watermarks(connection: sqlite3.Connection, instance: str, team_ids: list[str]) -> dict[str, int]:
    rows = connection.execute("SELECT team_id, seq FROM watermark WHERE instance = ?", (instance,))
    wanted = set(team_ids)
    return {team_id: seq for team_id, seq in rows if team_id in wanted}
