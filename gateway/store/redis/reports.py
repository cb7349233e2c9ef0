"""Usage and stories from Redis: hashes of hours and days back to cells, closed entries by time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from gateway.ids import milliseconds_of
from gateway.journal.entries import unpack_closed
from gateway.records import ClosedEntry, PriceTaken
from gateway.store.base import ExpiredHold, InvoiceLine, Retention, UsageCell
from gateway.store.redis.connect import Link
from gateway.store.redis.names import TeamNames, TenantNames

DAY_MS: Final = 86_400_000
COMMANDS_MAX: Final = 200
"""In one pipeline, so that a long report does not hold Redis up."""
SCAN_COUNT: Final = 1000
AROUND_MS: Final = 3_600_000
"""Entries are found by the time of their ids, which may differ from that of admission by the clocks' difference."""


class RedisReports:
    def __init__(self, link: Link, prefix: str, retention: Retention) -> None:
        self._reports_link = link
        self._prefix = prefix
        self._hours_kept_ms = retention.hours_d * DAY_MS

    async def usage(self, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None) -> list[UsageCell]:
        names = await self._teams(team_ids)
        days = await self._starts(names, lambda one: one.days, from_ms, to_ms)
        hours = await self._starts(names, lambda one: one.hours, from_ms, to_ms)
        kept_from_ms = time.time_ns() // 1_000_000 - self._hours_kept_ms
        wanted: list[tuple[str, int, str]] = []
        for one, of_days, of_hours in zip(names, days, hours, strict=True):
            old = [(day, start_ms) for day, start_ms in of_days if start_ms < kept_from_ms]
            wanted += [(one.team_id, start_ms, one.day(day)) for day, start_ms in old]
            hours_from_ms = max((start_ms + DAY_MS for _, start_ms in old), default=from_ms)
            wanted += [(one.team_id, ms, one.hour(ms)) for _, ms in of_hours if ms >= hours_from_ms]
        hashes = await self._read([key for _, _, key in wanted], lambda pipeline, key: pipeline.hgetall(key))
        found = [
            cell
            for (team_id, start_ms, _), sums in zip(wanted, hashes, strict=True)
            for cell in _cells(team_id, start_ms, sums)
        ]
        return sorted(found, key=lambda cell: (cell.start_ms, cell.team_id))

    async def spent(self, window: str) -> int:
        keys = [one.spent(window) for one in await self._teams(None)]
        found = await self._read(keys, lambda pipeline, key: pipeline.hget(key, "team"))
        return sum(int(amount) for amount in found if amount is not None)

    async def tag_usage(
        self, tag: str, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None
    ) -> list[tuple[str, UsageCell]]:
        names = await self._teams(team_ids)
        days = await self._starts(names, lambda one: one.days, from_ms, to_ms)
        wanted = [
            (one.team_id, start_ms, one.tag(tag, day))
            for one, of_days in zip(names, days, strict=True)
            for day, start_ms in of_days
        ]
        hashes = await self._read([key for _, _, key in wanted], lambda pipeline, key: pipeline.hgetall(key))
        found = [
            pair
            for (team_id, start_ms, _), sums in zip(wanted, hashes, strict=True)
            for pair in _tag_cells(team_id, start_ms, sums)
        ]
        return sorted(found, key=lambda pair: (pair[1].start_ms, pair[1].team_id, pair[0]))

    async def entries(
        self, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None, request_id: str | None = None
    ) -> list[ClosedEntry]:
        keys = [one.entries for one in await self._teams(team_ids)]
        low, high = from_ms - AROUND_MS, to_ms + AROUND_MS
        lists = await self._read(keys, lambda pipeline, key: pipeline.zrangebyscore(key, low, high))
        packed = [one for some in lists for one in some]
        # In a thread: a week of a busy team takes a second to unpack, in which no stream may stand still.
        found = await asyncio.to_thread(_unpacked, packed, request_id)
        return sorted(
            (entry for entry in found if from_ms <= entry.at_ms < to_ms),
            key=lambda entry: (entry.at_ms, entry.inference_id, entry.number, entry.seq),
        )

    async def story(self, inference_id: str, *, team_ids: Sequence[str] | None = None) -> list[ClosedEntry]:
        at_ms = milliseconds_of(inference_id)
        if not at_ms:
            return []
        keys = [one.entries for one in await self._teams(team_ids)]
        lists = await self._read(keys, lambda pipeline, key: pipeline.zrangebyscore(key, at_ms, at_ms))
        found = (unpack_closed(packed) for packeds in lists for packed in packeds)
        return sorted((entry for entry in found if entry.inference_id == inference_id), key=lambda entry: entry.number)

    async def expired_holds(
        self, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None
    ) -> list[ExpiredHold]:
        names = await self._teams(team_ids)
        hashes = await self._read([one.expired for one in names], lambda pipeline, key: pipeline.hgetall(key))
        found = [
            ExpiredHold(one.team_id, inference_id.decode(), milliseconds_of(inference_id.decode()) or 0, int(nano_usd))
            for one, holds in zip(names, hashes, strict=True)
            for inference_id, nano_usd in holds.items()
        ]
        return sorted(
            (hold for hold in found if from_ms <= hold.at_ms < to_ms), key=lambda hold: (hold.at_ms, hold.inference_id)
        )

    async def invoice_lines(self, team_id: str, month: str) -> list[InvoiceLine]:
        key = TeamNames(self._prefix, team_id).lines(month)
        sums = await self._reports_link.call(lambda client: client.hgetall(key))
        found: dict[tuple[str, str, str], dict[str, int]] = {}
        for field, count in sums.items():
            hub_model, provider, price, metric = field.decode().split("|", 3)
            found.setdefault((hub_model, provider, price), {})[metric] = int(count)
        return [
            InvoiceLine(hub_model, provider, _price(price), counters)
            for (hub_model, provider, price), counters in sorted(found.items())
        ]

    async def journals(self, team_id: str) -> dict[str, int]:
        start = TeamNames(self._prefix, team_id).watermark("")

        async def read(client: Any) -> dict[str, int]:
            keys = [key.decode() async for key in client.scan_iter(match=f"{start}*", count=SCAN_COUNT)]
            found = [(key.removeprefix(start), await client.get(key)) for key in sorted(set(keys))]
            return {instance: int(seq) for instance, seq in found if seq is not None}

        return await self._reports_link.call(read)

    async def journal_entries(self, team_id: str, instance: str, *, after: int, most: int) -> list[ClosedEntry]:
        """Redis keeps entries for their stories alone, and for a week."""
        return []

    async def _teams(self, team_ids: Sequence[str] | None) -> list[TeamNames]:
        if team_ids is None:
            known = await self._reports_link.call(lambda client: client.hkeys(TenantNames(self._prefix).teams))
            team_ids = sorted(team_id.decode() for team_id in known)
        return [TeamNames(self._prefix, team_id) for team_id in team_ids]

    async def _starts(
        self, names: Sequence[TeamNames], index: Callable[[TeamNames], str], from_ms: int, to_ms: int
    ) -> list[list[tuple[str, int]]]:
        """What an index of hours or days has in a time, for each team."""
        found = await self._read(
            [index(one) for one in names],
            lambda pipeline, key: pipeline.zrangebyscore(key, from_ms, f"({to_ms}", withscores=True),
        )
        return [[(member.decode(), int(score)) for member, score in pairs] for pairs in found]

    async def _read(self, keys: Sequence[str], command: Callable[[Any, str], Any]) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(keys), COMMANDS_MAX):
            some = keys[start : start + COMMANDS_MAX]

            async def read(client: Any, some: Sequence[str] = some) -> list[Any]:
                pipeline = client.pipeline(transaction=False)
                for key in some:
                    command(pipeline, key)
                replies: list[Any] = await pipeline.execute()
                return replies

            found += await self._reports_link.call(read)
        return found


def _unpacked(packed: Sequence[bytes], request_id: str | None) -> list[ClosedEntry]:
    """Entries, or those that carry an id: it is looked for in the packed form first, which is far cheaper."""
    if request_id is None:
        return [unpack_closed(one) for one in packed]
    wanted = request_id.encode()
    return [entry for one in packed if wanted in one and (entry := unpack_closed(one)).request_id == request_id]


def _price(text: str) -> PriceTaken | None:
    return PriceTaken(*map(int, text.split("/"))) if text else None


def _cells(team_id: str, start_ms: int, sums: dict[bytes, bytes]) -> Iterable[UsageCell]:
    cells: dict[tuple[str, str, str], dict[str, int]] = {}
    for field, count in sums.items():
        key_id, hub_model, provider, metric = field.decode().split("|", 3)
        cells.setdefault((key_id, hub_model, provider), {})[metric] = int(count)
    for (key_id, hub_model, provider), counters in cells.items():
        yield UsageCell(team_id, start_ms, key_id, hub_model, provider, counters)


def _tag_cells(team_id: str, start_ms: int, sums: dict[bytes, bytes]) -> Iterable[tuple[str, UsageCell]]:
    by_value: dict[str, dict[bytes, bytes]] = {}
    for field, count in sums.items():
        *cell, value = field.decode().split("|", 4)
        by_value.setdefault(value, {})["|".join(cell).encode()] = count
    for value, of_value in by_value.items():
        for one in _cells(team_id, start_ms, of_value):
            yield value, one
