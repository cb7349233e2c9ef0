"""Admission and settlement in Redis: values to scripts and back. The scripts say what is done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from gateway.ids import milliseconds_of
from gateway.journal.entries import pack_closed, price_values
from gateway.periods import windows_of
from gateway.records import CHARGED_METRICS, Admission, Admit, ClosedEntry, Crossing, Refusal, Run, Scope, Settled
from gateway.store.base import STALE_AFTER_MS, WORKER_GONE_MS, Retention
from gateway.store.fold import OTHER_VALUE, TAG_VALUES_MAX, Cell, RunSums, sum_run
from gateway.store.redis.connect import Link
from gateway.store.redis.names import TeamNames, TenantNames
from gateway.store.redis.scripts import ScriptRunner, load_script, seal, unsealed
from gateway.store.thresholds import thresholds_of

EXPIRED_HOLDS_MAX: Final = {"usual": 20, "all": 1000}
"""How many an admission ends, and how many where the budget would not suffice else."""
SWEEP_HOLDS_MAX: Final = 200
SWEEP_REST_MS: Final = 5_000
"""Of several hosts one sweeps at a time."""
SLOT_LEASE_MS: Final = 60_000
DAY_S: Final = 86_400
NEVER_STALE_MS: Final = 1 << 52
# A watermark outlives any pause of a team: one that is gone cannot be told from one that never was, and a worker may
# live for months. A hundred bytes each are cheap against usage that waits for a person.
WATERMARK_KEPT_S: Final = 400 * DAY_S

ADMIT: Final = load_script("admit", "seal", "common")
RENEW: Final = load_script("renew")
SETTLE: Final = load_script("settle", "seal", "common")
COUNT_WORKERS: Final = load_script("count_workers", "common")
SWEEP: Final = load_script("sweep", "common")

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


class RedisLedger:
    """Admissions and settlements travel in pipelines of their own, so that a long run delays no admission."""

    def __init__(self, link: Link, prefix: str, retention: Retention) -> None:
        self._link = link
        self._prefix = prefix
        self._retention = retention
        self._admitting = ScriptRunner(link)
        self._settling = ScriptRunner(link)

    async def admit(self, requests: Sequence[Admit]) -> list[Admission | Refusal]:
        answers = [self._admitting.start(ADMIT, *_admit_call(self._names(ask.team_id), ask)) for ask in requests]
        # All of them are awaited, also where the first fails: none is left for the collector to complain of.
        replies = await asyncio.gather(*answers)
        return [_admission(ask, _unpack(unsealed(reply))) for ask, reply in zip(requests, replies, strict=True)]

    async def settle(self, run: Run) -> Settled:
        reply = await self._settling.start(SETTLE, *_settle_call(self._names(run.team_id), run, self._retention))
        outcome, watermark, overrun, crossed = _unpack(unsealed(reply))
        crossings = tuple(Crossing(run.team_id, *one) for one in crossed)
        return Settled(outcome, int(watermark), crossings, int(overrun))

    async def renew(self, team_id: str, scope_id: str, inference_ids: Sequence[str]) -> None:
        keys = [self._names(team_id).slots(scope_id)]
        await self._settling.start(RENEW, keys, str(SLOT_LEASE_MS), *inference_ids)

    async def sweep_holds(self) -> int:
        tenants = TenantNames(self._prefix)
        begun = await self._link.call(lambda client: client.set(tenants.sweep, 1, nx=True, px=SWEEP_REST_MS))
        if not begun:
            return 0
        ended, team_ids = 0, await self._link.call(lambda client: client.hkeys(tenants.teams))
        for team_id in team_ids:
            names = self._names(team_id.decode())
            keys = [names.holds, names.leases, names.held, names.expired]
            count = SWEEP_HOLDS_MAX
            while count == SWEEP_HOLDS_MAX:
                count = await self._settling.start(SWEEP, keys, str(SWEEP_HOLDS_MAX))
                ended += count
        return ended

    async def watermarks(self, instance: str, team_ids: Iterable[str]) -> dict[str, int]:
        asked = list(team_ids)
        if not asked:
            return {}

        async def read(client: Any) -> list[bytes | None]:
            pipeline = client.pipeline(transaction=False)
            for team_id in asked:
                pipeline.get(self._names(team_id).watermark(instance))
            found: list[bytes | None] = await pipeline.execute()
            return found

        found = await self._link.call(read)
        return {team_id: int(seq) for team_id, seq in zip(asked, found, strict=True) if seq is not None}

    async def count_workers(self, instance: str) -> tuple[int, int]:
        keys = [TenantNames(self._prefix).workers]
        count, now_ms = await self._settling.start(COUNT_WORKERS, keys, instance, str(WORKER_GONE_MS))
        return count, now_ms

    async def crossings(self, instance: str, team_ids: Iterable[str]) -> list[Crossing]:
        asked = list(team_ids)

        async def read(client: Any) -> list[list[bytes]]:
            pipeline = client.pipeline(transaction=False)
            for team_id in asked:
                pipeline.hvals(self._names(team_id).crossings)
            found: list[list[bytes]] = await pipeline.execute()
            return found

        told = await self._link.call(read) if asked else []
        return [
            Crossing(team_id, *crossing)
            for team_id, packed in zip(asked, told, strict=True)
            for whose, crossing in map(_unpack, packed)
            if whose == instance
        ]

    async def begin_crossing(self, instance: str, crossing: Crossing) -> bool:
        marks = self._names(crossing.team_id).crossed(crossing.window)

        async def begin(client: Any) -> bool:
            begun: int = await client.sadd(marks, crossing.mark)
            await client.expire(marks, self._retention.days_d * DAY_S)
            return begun == 1

        return await self._link.call(begin)

    async def note_crossings(self, crossings: Sequence[Crossing]) -> None:
        async def drop(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            for crossing in crossings:
                pipeline.hdel(self._names(crossing.team_id).crossings, crossing.mark)
            await pipeline.execute()

        await self._link.call(drop)

    async def hold_again(self, requests: Sequence[Admit]) -> None:
        # In the pipeline of the runs, so that none of a request which ends meanwhile comes before its hold.
        answers = [
            self._settling.start(ADMIT, *_admit_call(self._names(ask.team_id), replace(ask, forced=True)))
            for ask in requests
        ]
        await asyncio.gather(*answers)

    def _names(self, team_id: str) -> TeamNames:
        return TeamNames(self._prefix, team_id)

    async def _close_runners(self) -> None:
        await self._admitting.aclose()
        await self._settling.aclose()


def _admit_call(names: TeamNames, ask: Admit) -> tuple[list[str], bytes, str]:
    keys = [names.holds, names.leases, names.held, names.expired]
    for scope in ask.scopes:
        keys += [names.spent(scope.budget_window or "total"), names.rate(scope.id), names.slots(scope.id)]
    argument = {
        "id": ask.inference_id,
        "hold": str(ask.hold_nano_usd),
        "tokens": ask.tokens,
        "lease_ms": ask.lease_ms,
        "not_after_ms": ask.not_after_ms,
        "slot_ms": SLOT_LEASE_MS,
        "expired_max": EXPIRED_HOLDS_MAX,
        "forced": ask.forced,
        "scopes": [_scope(scope) for scope in ask.scopes],
    }
    packed = _pack(argument)
    return keys, packed, seal(keys, packed)


def _scope(scope: Scope) -> dict[str, Any]:
    return {
        "id": scope.id,
        "window": scope.budget_window,
        "budget": scope.budget_nano_usd,
        "strict": scope.strict,
        "resets_at_ms": scope.budget_resets_at_ms,
        "requests": scope.requests_per_minute,
        "tokens": scope.tokens_per_minute,
        "slots": scope.concurrency,
    }


def _admission(ask: Admit, reply: list[Any]) -> Admission | Refusal:
    now_ms, reason, index, retry_after_s, spent, held, left = reply
    remaining = {ask.scopes[one.pop("scope") - 1].id: {name: int(n) for name, n in one.items()} for one in left}
    if not reason:
        return Admission(ask.inference_id, int(now_ms), remaining)
    scope = ask.scopes[index - 1].id if ask.scopes else "team"
    return Refusal(ask.inference_id, int(now_ms), reason, scope, retry_after_s, int(spent), int(held), remaining)


class _Keys:
    """KEYS of one call, each once, and where each stands (from 1)."""

    def __init__(self, first: Sequence[str]) -> None:
        self.all = list(first)
        self._index = {key: place for place, key in enumerate(first, 1)}

    def place(self, key: str) -> int:
        place = self._index.get(key)
        if place is None:
            self.all.append(key)
            place = self._index[key] = len(self.all)
        return place


def _settle_call(names: TeamNames, run: Run, kept: Retention) -> tuple[list[str], bytes, str]:
    sums = sum_run(run.entries)
    first = run.entries[0]
    keys = _Keys(
        [
            names.watermark(run.instance),
            names.holds,
            names.leases,
            names.held,
            names.day(first.day),
            names.days,
            names.hours,
            names.entries,
            names.poison,
            *(names.spent(window) for window in windows_of(first.day)),
            names.expired,
        ]
    )
    argument = {
        "believed": run.believed_watermark,
        "last": run.entries[-1].seq,
        # What is as new as can be is never stale.
        "oldest_ms": NEVER_STALE_MS if run.replayed else first.at_ms,
        "day": first.day,
        "day_start_ms": first.day_start_ms,
        "ttl": {
            "watermark": WATERMARK_KEPT_S,
            "hour": (kept.hours_d + 1) * DAY_S,
            "day": kept.days_d * DAY_S,
            "entry": kept.stories_d * DAY_S,
        },
        "stale_ms": STALE_AFTER_MS,
        "entries_max": kept.stories_max,
        "values_max": TAG_VALUES_MAX,
        "other": OTHER_VALUE,
        "spent": [text for scope, charge in sums.spent.items() for text in (scope, str(charge))],
        "day_sums": [text for cell, counters in sums.days.items() for text in _fields(cell, counters)],
        "lines": _lines(names, keys, sums, first.day),
        "hours": _hours(names, keys, sums),
        "tags": _tags(names, keys, sums, first.day),
        "ended": _ended(names, keys, sums),
        "watch": _watch(names, keys, run, sums),
        "entries": [value for entry in run.entries for value in (_score(entry), pack_closed(entry).decode())],
    }
    packed = _pack(argument)
    return keys.all, packed, seal(keys.all, packed)


def _fields(cell: Cell, counters: Mapping[str, int]) -> list[str]:
    """`<key>|<hub model>|<provider>|<metric>`, and its sum."""
    place = "|".join(cell[1:])
    return [text for metric, count in counters.items() for text in (f"{place}|{metric}", str(count))]


def _lines(names: TeamNames, keys: _Keys, sums: RunSums, day: str) -> tuple[int, list[str]]:
    fields = []
    for (hub_model, provider, price), counters in sums.lines.items():
        shown = "" if price is None else "/".join(map(str, price_values(price)))
        for metric, count in counters.items():
            if metric in CHARGED_METRICS:
                fields += [f"{hub_model}|{provider}|{shown}|{metric}", str(count)]
    return keys.place(names.lines(day[:7])), fields


def _hours(names: TeamNames, keys: _Keys, sums: RunSums) -> list[tuple[int, int, list[str]]]:
    by_hour: dict[int, list[str]] = {}
    for cell, counters in sums.hours.items():
        by_hour.setdefault(cell[0], []).extend(_fields(cell, counters))
    return [(keys.place(names.hour(start_ms)), start_ms, fields) for start_ms, fields in by_hour.items()]


def _tags(names: TeamNames, keys: _Keys, sums: RunSums, day: str) -> list[tuple[int, int, str, list[str]]]:
    by_value: dict[tuple[str, str], list[str]] = {}
    for (name, value, cell), counters in sums.tags.items():
        by_value.setdefault((name, value), []).extend(_fields(cell, counters))
    return [
        (keys.place(names.tag(name, day)), keys.place(names.tag_values(name, day)), value, fields)
        for (name, value), fields in by_value.items()
    ]


def _ended(names: TeamNames, keys: _Keys, sums: RunSums) -> list[tuple[str, int, list[tuple[int, int]]]]:
    return [
        (
            ended.inference_id,
            ended.tokens,
            [
                (keys.place(names.slots(scope)), keys.place(names.rate(scope)))
                for scope in ("team", f"key:{ended.key_id}")
            ],
        )
        for ended in sums.ended
    ]


def _watch(names: TeamNames, keys: _Keys, run: Run, sums: RunSums) -> Any:
    """The budgets that this run counts against; false, at the cost of nothing, where there are none."""
    if not sums.budgets:
        return False
    watched = [
        (
            taken.scope,
            taken.window,
            taken.nano_usd,
            taken.strict,
            sums.spent[taken.scope],
            keys.place(names.spent(taken.window)),
            keys.place(names.crossed(taken.window)),
            thresholds_of(taken),
        )
        for taken in sums.budgets.values()
    ]
    return run.instance, keys.place(names.crossings), watched


def _score(entry: ClosedEntry) -> int:
    """Where an entry stands in time: by its own id, so that a story is found by that alone."""
    return milliseconds_of(entry.inference_id) or entry.at_ms
