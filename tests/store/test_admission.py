"""Admission: budgets, rates and concurrency, all or nothing, under races."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from gateway.records import Admission, Refusal, Scope
from gateway.store.base import Store
from tests.store.conftest import OpenStore
from tests.store.samples import TEAM, admit, budget, entry, run_of, with_store


async def ask(store: Store, *scopes: Scope, **changes: object) -> Admission | Refusal:
    return (await store.admit([admit(scopes, **changes)]))[0]


def granted(answers: list[Admission | Refusal]) -> int:
    return sum(isinstance(answer, Admission) for answer in answers)


def test_fifty_at_once_share_a_budget_of_ten(store_at: OpenStore) -> None:
    async def act() -> None:
        stores = [await store_at() for _ in range(3)]
        answers = await asyncio.gather(*(ask(stores[n % 3], budget(10_000)) for n in range(50)))
        assert granted(list(answers)) == 10
        refusal = next(answer for answer in answers if isinstance(answer, Refusal))
        assert (refusal.reason, refusal.scope, refusal.spent_nano_usd, refusal.held_nano_usd) == (
            "budget", "team", 0, 10_000,
        )  # fmt: skip
        for store in stores:
            await store.aclose()

    asyncio.run(act())


def test_settling_turns_a_hold_into_what_was_charged(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        scope = budget(100_000)
        held = admit([scope], hold_nano_usd=90_000)
        assert isinstance((await store.admit([held]))[0], Admission)
        assert isinstance(await ask(store, scope, hold_nano_usd=20_000), Refusal)
        await store.settle(run_of([entry(1, inference_id=held.inference_id, charge_nano_usd=30_000)]))
        again = await ask(store, scope, hold_nano_usd=20_000)
        assert isinstance(again, Admission)
        assert again.remaining["team"]["budget_nano_usd"] == 50_000

    asyncio.run(with_store(store_at, act))


def test_an_attempt_that_is_not_the_last_leaves_the_hold(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        held = admit([budget(1000)])
        await store.admit([held])
        await store.settle(run_of([entry(1, inference_id=held.inference_id, last=False, charge_nano_usd=0)]))
        assert isinstance(await ask(store, budget(1000)), Refusal)

    asyncio.run(with_store(store_at, act))


def test_asking_twice_for_one_request_holds_once(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        held = admit([budget(1000)])
        assert granted(await store.admit([held, held])) == 2
        assert isinstance(await ask(store, budget(1500)), Refusal)
        assert isinstance(await ask(store, budget(2000)), Admission)

    asyncio.run(with_store(store_at, act))


def test_a_hold_whose_lease_is_over_ends_with_the_next_question(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        await ask(store, budget(1000), lease_ms=-1)
        answer = await ask(store, budget(1000))
        assert isinstance(answer, Admission)
        assert answer.remaining["team"]["budget_nano_usd"] == 0

    asyncio.run(with_store(store_at, act))


def test_a_question_that_comes_too_late_is_refused(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        answer = await ask(store, budget(1000), not_after_ms=time.time_ns() // 1_000_000 - 1)
        assert isinstance(answer, Refusal)
        assert answer.reason == "late"

    asyncio.run(with_store(store_at, act))


def test_all_scopes_or_none(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        team = budget(10_000)
        key = Scope("key:k_one", budget_nano_usd=500, budget_window="total")
        refused = await ask(store, team, key)
        assert isinstance(refused, Refusal)
        assert refused.scope == "key:k_one"
        free = await ask(store, team)
        assert isinstance(free, Admission)
        assert free.remaining["team"]["budget_nano_usd"] == 9_000

    asyncio.run(with_store(store_at, act))


def test_a_soft_budget_refuses_nothing(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        answer = await ask(store, budget(10, strict=False))
        assert isinstance(answer, Admission)
        assert answer.remaining["team"]["budget_nano_usd"] == -990

    asyncio.run(with_store(store_at, act))


def test_windows_are_apart(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        spent = entry(1, charge_nano_usd=5_000)
        await store.settle(run_of([spent]))
        today = replace(budget(10_000), budget_window=f"day:{spent.day}")
        tomorrow = replace(today, budget_window="day:2999-01-01")
        of_day, of_tomorrow = await ask(store, today), await ask(store, tomorrow)
        assert of_day.remaining["team"]["budget_nano_usd"] == 4_000
        assert of_tomorrow.remaining["team"]["budget_nano_usd"] == 9_000

    asyncio.run(with_store(store_at, act))


def test_requests_a_minute(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        scope = Scope("team", requests_per_minute=5)
        answers = [await ask(store, scope) for _ in range(7)]
        assert granted(answers) == 5
        assert [answer.remaining["team"]["requests"] for answer in answers[:5]] == [4, 3, 2, 1, 0]
        refusal = answers[-1]
        assert isinstance(refusal, Refusal)
        assert refusal.reason == "requests"
        assert 58 <= refusal.retry_after_s <= 61

    asyncio.run(with_store(store_at, act))


def test_tokens_a_minute_are_corrected_when_they_are_known(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        scope = Scope("team", tokens_per_minute=200)
        first = admit([scope], tokens=150)
        assert isinstance((await store.admit([first]))[0], Admission)
        refused = await ask(store, scope, tokens=100)
        assert isinstance(refused, Refusal)
        assert refused.reason == "tokens"
        await store.settle(run_of([entry(1, inference_id=first.inference_id)]))  # 120 tokens
        fits = await ask(store, scope, tokens=80)
        assert isinstance(fits, Admission)
        assert fits.remaining["team"]["tokens"] == 0

    asyncio.run(with_store(store_at, act))


def test_slots_are_free_again_when_a_request_ends(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        scope = Scope("key:k_one", concurrency=2)
        first, second = admit([scope]), admit([scope])
        assert granted(await store.admit([first, second])) == 2
        third = await ask(store, scope)
        assert isinstance(third, Refusal)
        assert third.reason == "concurrency"
        await store.renew(TEAM, scope.id, [second.inference_id, "never-admitted"])
        await store.settle(run_of([entry(1, inference_id=first.inference_id)]))
        assert granted([await ask(store, scope), await ask(store, scope)]) == 1

    asyncio.run(with_store(store_at, act))
