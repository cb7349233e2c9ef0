"""Settlement: every closed entry counts once, whatever is sent twice, late or by two at a time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from gateway.periods import hour_of
from gateway.records import CHARGED_METRICS, ClosedEntry, PriceTaken
from gateway.store.base import Store
from gateway.store.fold import Fold, sum_run
from gateway.store.open import open_store
from tests.store.conftest import OpenStore
from tests.store.redis_server import RedisServer
from tests.store.samples import NOW_MS, OTHER_TEAM, TEAM, entry, run_of, with_store, with_teams

EVER: Any = {"from_ms": 0, "to_ms": NOW_MS + 86_400_000}
HOUR_MS = 3_600_000


async def assert_equals_fold(store: Store, fold: Fold, teams: tuple[str, ...] = (TEAM, OTHER_TEAM)) -> None:
    cells: dict[tuple[str, tuple[int, str, str, str]], Counter[str]] = defaultdict(Counter)
    for cell in await store.usage(**EVER, team_ids=teams):
        cells[(cell.team_id, (cell.start_ms, cell.key_id, cell.hub_model, cell.provider))].update(cell.counters)
    assert cells == {place: counters for place, counters in fold.hours.items() if counters}
    tags: dict[tuple[str, str, str, tuple[int, str, str, str]], Counter[str]] = defaultdict(Counter)
    for name in {place[1] for place in fold.tags}:
        for value, cell in await store.tag_usage(name, **EVER, team_ids=teams):
            day_cell = (cell.start_ms, cell.key_id, cell.hub_model, cell.provider)
            tags[(cell.team_id, name, value, day_cell)].update(cell.counters)
    assert tags == {place: counters for place, counters in fold.tags.items() if counters}


def test_a_run_is_applied_once_however_often_it_is_sent(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        run = run_of([entry(1), entry(2, tags={"project": "x"}), entry(3, key_id="k_two", provider="together")])
        first = await store.settle(run)
        again = await store.settle(run)
        assert (first.outcome, first.watermark) == ("applied", 3)
        assert (again.outcome, again.watermark) == ("gap", 3)
        fold = Fold()
        for one in run.entries:
            fold.add("i_one", one)
        await assert_equals_fold(store, fold)

    asyncio.run(with_store(store_at, with_teams(act)))


def test_a_run_that_believes_too_much_is_told_where_the_store_is(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        await store.settle(run_of([entry(1)]))
        ahead = await store.settle(run_of([entry(5)], believed=4))
        assert (ahead.outcome, ahead.watermark) == ("gap", 1)
        assert await store.watermarks("i_one", [TEAM, OTHER_TEAM]) == {TEAM: 1}
        assert await store.watermarks("i_two", [TEAM]) == {}

    asyncio.run(with_store(store_at, with_teams(act)))


def test_entries_too_old_for_a_store_without_a_watermark_are_not_guessed_at(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        old = entry(9, at_ms=NOW_MS - 36 * 86_400_000)
        assert (await store.settle(run_of([old], believed=8))).outcome == "stale"
        assert await store.usage(**EVER) == []

    asyncio.run(with_store(store_at, with_teams(act)))


def test_two_senders_late_runs_and_lost_replies_neither_lose_nor_double(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        chance = random.Random(7)
        fold = Fold()
        journals: dict[tuple[str, str], list[ClosedEntry]] = {}
        for instance in ("i_one", "i_two"):
            for team in (TEAM, OTHER_TEAM):
                entries = [
                    entry(
                        seq,
                        team_id=team,
                        at_ms=NOW_MS - chance.choice((0, 1, 2)) * HOUR_MS,
                        charge_nano_usd=chance.choice((0, 1, None, 10**12)),
                        tags={"env": chance.choice("ab")},
                    )
                    for seq in range(1, 41)
                ]
                journals[(instance, team)] = entries
                for one in entries:
                    fold.add(instance, one)

        async def send(place: tuple[str, str], seed: int) -> None:
            own = random.Random(seed)
            entries, believed = journals[place], 0
            while believed < len(entries):
                day = entries[believed].day
                run = [one for one in entries[believed : believed + own.randint(1, 9)] if one.day == day]
                answer = await store.settle(run_of(run, believed=believed, instance=place[0]))
                if answer.outcome == "gap" or own.random() > 0.3:  # else the reply was lost
                    believed = answer.watermark

        await asyncio.gather(*(send(place, seed) for place in journals for seed in (1, 2)))
        await assert_equals_fold(store, fold)

    asyncio.run(with_store(store_at, with_teams(act)))


def test_requests_count_with_their_last_entry_and_tokens_with_the_one_that_answered(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        failed = entry(1, last=False, answered=False, charge_nano_usd=0, provider="cerebras")
        won = msgspec.structs.replace(entry(2), inference_id=failed.inference_id, number=2)
        await store.settle(run_of([failed, won]))
        cells = {cell.provider: cell.counters for cell in await store.usage(**EVER)}
        assert cells["cerebras"] == {"provider_cost_nano_usd": 74_800}
        assert cells["groq"]["requests"] == 1
        assert cells["groq"]["prompt_tokens"] == 100
        assert [one.number for one in await store.story(won.inference_id)] == [1, 2]
        assert [one.number for one in await store.story(won.inference_id, team_ids=[TEAM])] == [1, 2]
        assert await store.story(won.inference_id, team_ids=[OTHER_TEAM]) == []

    asyncio.run(with_store(store_at, with_teams(act)))


def test_a_hole_is_counted_as_lost(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        lost = entry(4, kind="lost", prev=0, last=False, answered=False, lost_from=1, lost_to=4, charge_nano_usd=0,
                     provider_cost_nano_usd=0, inference_id="", provider="", key_id="", hub_model="")  # fmt: skip
        assert (await store.settle(run_of([lost, entry(5)], believed=0))).outcome == "applied"
        cells = await store.usage(**EVER)
        assert [cell.counters["lost_entries"] for cell in cells if "lost_entries" in cell.counters] == [4]

    asyncio.run(with_store(store_at, with_teams(act)))


def test_entries_come_back_whole_and_in_order(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        first = entry(1, tags={"a": "b"}, dropped=("seed",), reported_model="x", first_content_ms=12)
        second = entry(2, at_ms=NOW_MS + 1)
        await store.settle(run_of([first]))
        await store.settle(run_of([second]))
        assert await store.entries(**EVER) == [first, second]
        assert await store.entries(from_ms=NOW_MS + 1, to_ms=NOW_MS + 2) == [second]
        assert await store.entries(**EVER, team_ids=[OTHER_TEAM]) == []
        assert await store.story("not-an-id") == []

    asyncio.run(with_store(store_at, with_teams(act)))


def test_tag_values_beyond_a_thousand_a_day_are_counted_together(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        for start in range(1, 1101, 100):
            run = [entry(seq, tags={"user": f"u|{seq}"}) for seq in range(start, start + 100)]
            await store.settle(run_of(run))
        values = {
            value: cell.counters["requests"] for value, cell in await store.tag_usage("user", **EVER, team_ids=[TEAM])
        }
        assert values["u|1"] == 1
        assert values["~other"] == 100
        assert len(values) == 1001

    asyncio.run(with_store(store_at, with_teams(act)))


def test_what_a_month_came_to_is_kept_by_price(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.command("FLUSHALL")
    cheap, dear = PriceTaken(1, 2, 3, 4), PriceTaken(10, 20, 30, 40)
    at_ms = NOW_MS - 40 * 86_400_000
    entries = [
        entry(1, price=cheap, provider_cost_nano_usd=9),
        entry(2, price=dear, cached_tokens=7),
        entry(3, price=cheap, key_id="k_two"),
        entry(4, price=dear, answered=False, charge_nano_usd=0, failed=True),
        entry(5, charge_nano_usd=None, provider_cost_nano_usd=None),
        entry(6, kind="void", answered=False, charge_nano_usd=0, provider=""),
    ]

    async def act(store: Store) -> None:
        await store.settle(replace(run_of([entry(1, price=dear, at_ms=at_ms)], instance="i_old"), replayed=True))
        for start in (0, 2, 4):
            await store.settle(run_of(entries[start : start + 2]))
        found = {
            (line.hub_model, line.provider, line.price): dict(line.counters)
            for line in await store.invoice_lines(TEAM, entries[0].day[:7])
        }
        assert found == {
            line: {metric: n for metric, n in sums.items() if metric in CHARGED_METRICS}
            for line, sums in sum_run(entries).lines.items()
        }
        assert {price for _, _, price in found} == {None, cheap, dear}
        (old,) = await store.invoice_lines(TEAM, hour_of(at_ms, "UTC").day[:7])
        assert (old.price, old.counters["requests"]) == (dear, 1)
        assert await store.invoice_lines(OTHER_TEAM, entries[0].day[:7]) == []

    asyncio.run(with_store(lambda: open_store(state_dir=tmp_path, redis_url=redis_server.url), with_teams(act)))
