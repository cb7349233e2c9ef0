"""Requests that end together: what they held is given back to the last nano-dollar, token and slot, in one run."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.records import Admission, Scope
from gateway.store.base import Store
from gateway.store.open import open_store
from gateway.store.redis.names import TeamNames
from tests.store.conftest import OpenStore
from tests.store.redis_server import RedisServer
from tests.store.samples import TEAM, admit, budget, entry, run_of, with_store

TOGETHER = 150
TEAM_SCOPE = Scope("team", budget_nano_usd=10**12, budget_window="total", tokens_per_minute=10**5, concurrency=TOGETHER)
KEY_SCOPE = Scope("key:k_one", budget_nano_usd=10**11, budget_window="total", concurrency=TOGETHER)


def test_all_of_a_run_is_given_back(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        asked = [admit([TEAM_SCOPE, KEY_SCOPE], hold_nano_usd=10_000 + n, tokens=100 + n) for n in range(TOGETHER)]
        assert all(isinstance(answer, Admission) for answer in await store.admit(asked))
        closed = [
            entry(seq, inference_id=one.inference_id, charge_nano_usd=seq, prompt_tokens=50, completion_tokens=seq)
            for seq, one in enumerate(asked, 1)
        ]
        assert (await store.settle(run_of(closed))).outcome == "applied"

        (answer,) = await store.admit([admit([TEAM_SCOPE, KEY_SCOPE], hold_nano_usd=0, tokens=0)])

        assert isinstance(answer, Admission)
        spent = sum(range(1, TOGETHER + 1))
        assert answer.remaining["team"]["budget_nano_usd"] == 10**12 - spent
        assert answer.remaining["key:k_one"]["budget_nano_usd"] == 10**11 - spent
        assert answer.remaining["team"]["tokens"] == 10**5 - 50 * TOGETHER - spent
        rest = [admit([TEAM_SCOPE, KEY_SCOPE], tokens=0) for _ in range(TOGETHER)]
        admitted = [isinstance(answer, Admission) for answer in await store.admit(rest)]
        assert admitted == [True] * (TOGETHER - 1) + [False]

    asyncio.run(with_store(store_at, act))


def test_a_damaged_hold_is_kept_for_a_person_and_stops_no_other(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.command("FLUSHALL")
    names = TeamNames("gw", TEAM)

    async def act(store: Store) -> None:
        good, bad = admit([budget(1_000_000)]), admit([budget(1_000_000)])
        await store.admit([good, bad])
        redis_server.command("HSET", names.holds, bad.inference_id, "junk")
        closed = [entry(seq, inference_id=one.inference_id) for seq, one in enumerate((bad, good), 1)]
        assert (await store.settle(run_of(closed))).outcome == "applied"

    asyncio.run(with_store(lambda: open_store(state_dir=tmp_path, redis_url=redis_server.url), act))

    (left,) = redis_server.command("HKEYS", names.holds).split()
    (told,) = redis_server.command("LRANGE", names.poison, "0", "-1").splitlines()
    assert told.startswith(left)
    assert redis_server.command("HGET", names.held, "team|total") == "1000"
