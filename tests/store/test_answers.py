"""Answers under an Idempotency-Key: one claim stands, whoever makes it, and what was answered is kept for all."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.store.base import ANSWER_KEPT_S, Claim, Claimed, Store
from gateway.store.open import open_store
from gateway.store.sqlite.store import SqliteStore
from tests.store.conftest import OpenStore
from tests.store.redis_server import RedisServer
from tests.store.samples import OTHER_TEAM, TEAM, ids, with_store

PLACE: Final = "a" * 64
LEASE_MS: Final = 60_000


def claim(**changes: Any) -> Claim:
    """A claim of a new request to always the same place."""
    return Claim(**{"team_id": TEAM, "place": PLACE, "fingerprint": "f", "inference_id": ids.next(),
                    "lease_ms": LEASE_MS, **changes})  # fmt: skip


def running(one: Claim, *, lease_is_over: bool = False) -> Claimed:
    return Claimed(one.inference_id, one.fingerprint, lease_is_over, is_answered=False)


def answered(one: Claim, answer: bytes | None) -> tuple[str, str, bool, bytes | None]:
    return one.inference_id, one.fingerprint, True, answer


def seen(found: Claimed | None) -> tuple[str, str, bool, bytes | None]:
    """All but the lease, which means nothing once there is an answer."""
    assert found is not None
    return found.inference_id, found.fingerprint, found.is_answered, found.answer


def test_of_fifty_at_once_one_claim_stands(store_at: OpenStore) -> None:
    async def act() -> None:
        stores = [await store_at() for _ in range(3)]
        claims = [claim() for _ in range(50)]
        found = await asyncio.gather(*(stores[n % 3].claim_answer(one) for n, one in enumerate(claims)))
        (winner,) = [one for one, first in zip(claims, found, strict=True) if first is None]
        assert {first for first in found if first is not None} == {running(winner)}
        for store in stores:
            await store.aclose()

    asyncio.run(act())


def test_a_claim_made_twice_by_one_request_stands(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        one = claim()
        assert await store.claim_answer(one) is None
        assert await store.claim_answer(one) is None

    asyncio.run(with_store(store_at, act))


@pytest.mark.parametrize("answer", [b"{}\n\x00\xff" + b"x" * 70_000, b"", None])
def test_an_answer_is_given_as_it_was_kept(store_at: OpenStore, answer: bytes | None) -> None:
    async def act(store: Store) -> None:
        first, second = claim(), claim(fingerprint="g")
        await store.claim_answer(first)
        await store.keep_answer(first, answer)
        assert seen(await store.claim_answer(second)) == answered(first, answer)
        # Nobody says any more that what was answered was not.
        await store.drop_claim(first)
        assert seen(await store.claim_answer(replace(second, instead_of=first.inference_id))) == answered(first, answer)

    asyncio.run(with_store(store_at, act))


def test_places_and_teams_are_apart(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        assert await store.claim_answer(claim()) is None
        assert await store.claim_answer(claim(place="b" * 64)) is None
        assert await store.claim_answer(claim(team_id=OTHER_TEAM)) is None

    asyncio.run(with_store(store_at, act))


def test_a_claim_that_was_dropped_is_free(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        first, second, third = claim(), claim(), claim()
        await store.claim_answer(first)
        await store.drop_claim(second)  # not its own
        assert await store.claim_answer(second) == running(first)
        await store.drop_claim(first)
        assert await store.claim_answer(third) is None

    asyncio.run(with_store(store_at, act))


def test_a_void_claim_is_taken_over_by_one_alone(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        dead, heir, late = claim(lease_ms=-1), claim(), claim()
        await store.claim_answer(dead)
        assert await store.claim_answer(heir) == running(dead, lease_is_over=True)
        assert await store.claim_answer(replace(heir, instead_of=dead.inference_id)) is None
        assert await store.claim_answer(replace(late, instead_of=dead.inference_id)) == running(heir)
        # And whoever was taken for dead changes nothing any more.
        await store.keep_answer(dead, b"too late")
        await store.drop_claim(dead)
        assert await store.claim_answer(late) == running(heir)

    asyncio.run(with_store(store_at, act))


def test_an_answer_is_kept_though_the_store_lost_its_claim(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        first = claim()
        await store.keep_answer(first, b"answer")
        assert seen(await store.claim_answer(claim())) == answered(first, b"answer")

    asyncio.run(with_store(store_at, act))


def test_redis_forgets_an_answer_after_a_day(redis_server: RedisServer, tmp_path: Path) -> None:
    async def act(store: Store) -> None:
        first = claim()
        await store.claim_answer(first)
        (name,) = redis_server.command("KEYS", "*:answer:*").split()
        redis_server.command("PERSIST", name)
        await store.keep_answer(first, b"answer")
        assert ANSWER_KEPT_S - 5 <= int(redis_server.command("TTL", name)) <= ANSWER_KEPT_S

    redis_server.command("FLUSHALL")
    asyncio.run(with_store(lambda: open_store(state_dir=tmp_path, redis_url=redis_server.url), act))


def test_sqlite_forgets_an_answer_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(store: Store) -> None:
        first, later, latest = claim(), claim(), claim()  # ids never go back, so none is made in the future
        await store.claim_answer(first)
        await store.claim_answer(claim(place="b" * 64))
        await store.keep_answer(first, b"answer")
        now_ns = time.time_ns()
        monkeypatch.setattr(time, "time_ns", lambda: now_ns + ANSWER_KEPT_S * 10**9 - 10**10)
        assert seen(await store.claim_answer(later)) == answered(first, b"answer")
        monkeypatch.setattr(time, "time_ns", lambda: now_ns + ANSWER_KEPT_S * 10**9 + 10**10)
        assert await store.claim_answer(latest) is None
        rows = await store._database.call(lambda c: c.execute("SELECT count(*) FROM answer").fetchone())  # type: ignore[attr-defined]
        assert rows == (1,)

    async def opened() -> Store:
        return SqliteStore(tmp_path / "store.db")

    asyncio.run(with_store(opened, act))
