"""Thresholds of budgets: each is told once for each window, whoever settles, and nothing told is lost on the way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.records import BudgetTaken, ClosedEntry, Crossing, Settled
from gateway.store.base import Store
from gateway.store.thresholds import overrun_nano_usd, thresholds_of
from tests.store.conftest import OpenStore
from tests.store.samples import NOW_MS, OTHER_TEAM, TEAM, entry, run_of, with_store

DAY_MS = 86_400_000
TEAMS = BudgetTaken("team", "total", 1_000, strict=True, warn_at=(80, 100))


def charged(seq: int, nano_usd: int, *budgets: BudgetTaken, **changes: object) -> ClosedEntry:
    return entry(seq, charge_nano_usd=nano_usd, budgets=budgets, **changes)


def marks(settled: Settled) -> list[tuple[str, str, int]]:
    return [(one.scope, one.window, one.percent) for one in settled.crossed]


def test_a_threshold_is_told_when_it_is_reached_and_not_again(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        below = await store.settle(run_of([charged(1, 799, TEAMS)]))
        reached = await store.settle(run_of([charged(2, 1, TEAMS)]))
        assert below.crossed == ()
        (crossing,) = reached.crossed
        assert (crossing.percent, crossing.budget_nano_usd, crossing.spent_nano_usd) == (80, 1_000, 800)
        assert abs(crossing.at_ms - NOW_MS) < DAY_MS
        await store.note_crossings(reached.crossed)
        assert (await store.settle(run_of([charged(3, 1, TEAMS)]))).crossed == ()
        assert marks(await store.settle(run_of([charged(4, 500, TEAMS)]))) == [("team", "total", 100)]

    asyncio.run(with_store(store_at, act))


def test_one_charge_may_reach_several_of_several_budgets(store_at: OpenStore) -> None:
    day = entry(1).day
    of_key = BudgetTaken("key:k_one", f"day:{day}", 100, strict=False, warn_at=(50, 200, 1_000))

    async def act(store: Store) -> None:
        settled = await store.settle(run_of([charged(1, 900, TEAMS, of_key)]))
        assert sorted(marks(settled)) == [
            ("key:k_one", f"day:{day}", 50), ("key:k_one", f"day:{day}", 200), ("team", "total", 80),
        ]  # fmt: skip

    asyncio.run(with_store(store_at, act))


def test_windows_and_changed_budgets_are_told_anew(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        seq = 0
        for days_ago in (1, 0):
            day = entry(1, at_ms=NOW_MS - days_ago * DAY_MS).day
            of_day = BudgetTaken("team", f"day:{day}", 100, strict=False, warn_at=(80,))
            for _ in range(2):
                seq += 1
                settled = await store.settle(run_of([charged(seq, 90, of_day, at_ms=NOW_MS - days_ago * DAY_MS)]))
                await store.note_crossings(settled.crossed)
                assert marks(settled) == ([("team", f"day:{day}", 80)] if seq % 2 else [])
        lowered = BudgetTaken("team", f"day:{day}", 60, strict=False, warn_at=(80,))
        assert marks(await store.settle(run_of([charged(5, 1, lowered)]))) == [("team", f"day:{day}", 80)]

    asyncio.run(with_store(store_at, act))


def test_however_workers_interleave_each_is_told_once(store_at: OpenStore) -> None:
    """Five journals through three connections, charges of any size, in any order."""
    dice = random.Random(7)
    of_key = BudgetTaken("key:k_one", "total", 3_000, strict=False, warn_at=(10, 50, 80, 100, 150))
    budgets = (replace_nano(TEAMS, 5_000), of_key)

    async def one_journal(store: Store, instance: str, told: list[Crossing]) -> int:
        sum_nano_usd = 0
        for seq in range(1, 21):
            nano_usd = dice.randrange(1, 100)
            settled = await store.settle(run_of([charged(seq, nano_usd, *budgets)], instance=instance))
            await store.note_crossings(settled.crossed)
            told += settled.crossed
            sum_nano_usd += nano_usd
        return sum_nano_usd

    async def act() -> None:
        stores = [await store_at() for _ in range(3)]
        told: list[Crossing] = []
        spent = sum(await asyncio.gather(*(one_journal(stores[n % 3], f"i_{n}", told) for n in range(5))))
        reached = {
            (taken.scope, percent) for taken in budgets for percent, at, _ in thresholds_of(taken) if spent >= at
        }
        assert len(reached) >= 5
        assert Counter((one.scope, one.percent) for one in told) == Counter(reached)
        for store in stores:
            await store.aclose()

    asyncio.run(act())


def replace_nano(taken: BudgetTaken, nano_usd: int) -> BudgetTaken:
    return BudgetTaken(taken.scope, taken.window, nano_usd, taken.strict, taken.warn_at)


def test_what_a_lost_answer_told_is_told_again_to_that_journal_alone(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        run = run_of([charged(1, 900, TEAMS)])
        await store.settle(run)  # and its answer is lost
        assert (await store.settle(run_of([charged(1, 1, TEAMS)], instance="i_two"))).crossed == ()
        again = await store.settle(run)
        assert (again.outcome, marks(again)) == ("gap", [("team", "total", 80)])
        assert marks(await store.settle(run_of([charged(2, 1, TEAMS)]))) == [("team", "total", 80)]
        await store.note_crossings(again.crossed)
        assert (await store.settle(run)).crossed == ()

    asyncio.run(with_store(store_at, act))


def test_who_adopts_a_journal_hears_what_its_worker_did_not_note(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        settled = await store.settle(run_of([charged(1, 900, TEAMS)]))
        assert await store.crossings("i_one", [OTHER_TEAM, TEAM]) == list(settled.crossed)
        assert await store.crossings("i_two", [OTHER_TEAM, TEAM]) == []
        await store.note_crossings(settled.crossed)
        assert await store.crossings("i_one", [TEAM]) == []
        assert await store.crossings("i_one", []) == []

    asyncio.run(with_store(store_at, act))


def test_a_run_says_how_far_it_went_past_a_strict_budget(store_at: OpenStore) -> None:
    soft = BudgetTaken("key:k_one", "total", 10, strict=False, warn_at=())

    async def act(store: Store) -> None:
        overruns = [
            (await store.settle(run_of([charged(seq, nano_usd, TEAMS, soft)]))).overrun_nano_usd
            for seq, nano_usd in enumerate((1_000, 0, 7, 20), start=1)
        ]
        assert overruns == [0, 0, 7, 20]
        assert (await store.settle(run_of([charged(5, 20)]))).overrun_nano_usd == 0

    asyncio.run(with_store(store_at, act))


def test_entries_without_a_budget_leave_nothing_behind(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        assert (await store.settle(run_of([entry(1)]))).crossed == ()
        assert await store.crossings("i_one", [TEAM]) == []

    asyncio.run(with_store(store_at, act))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**15), st.lists(st.integers(1, 1000), max_size=10))
def test_a_threshold_is_reached_with_the_first_nano_dollar_that_makes_the_percentage(
    nano_usd: int, percents: list[int]
) -> None:
    taken = BudgetTaken("team", "total", nano_usd, strict=True, warn_at=tuple(percents))
    for percent, reached_at, _ in thresholds_of(taken):
        assert reached_at * 100 >= nano_usd * percent > (reached_at - 1) * 100


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**5), max_size=20))
def test_overruns_add_up_to_what_was_spent_past_the_budget(nano_usd: int, charges: list[int]) -> None:
    taken = replace_nano(TEAMS, nano_usd)
    spent = overrun = 0
    for charge in charges:
        overrun += overrun_nano_usd(taken, spent, spent + charge)
        spent += charge
    assert overrun == max(0, spent - nano_usd)
