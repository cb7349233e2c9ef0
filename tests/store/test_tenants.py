"""Teams and keys: names are unique among the living, ids are for ever, digests open keys."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from gateway.administration import Actor, Administration
from gateway.store.base import AuditEntry, Changed, NameTaken, Store
from gateway.tenants import Budget, Key, Limits, Team, Webhook
from tests.store.conftest import OpenStore
from tests.store.samples import OTHER_TEAM, TEAM, with_store

NOW_MS = time.time_ns() // 1_000_000
SEARCH = Team(
    TEAM, "search", 1, budget=Budget(5), limits=Limits(concurrency=2), models=("a/*",), timezone="Europe/Paris",
    accepts_from=("ads",), ceilings={"only": ["groq"]}, webhook=Webhook("https://x", "s"),
)  # fmt: skip
KEY = Key("k_one", TEAM, "hf_gw_ab", "d" * 64, created_at_ms=1, scopes=("inference",))

ACTOR = Actor("cli", "here")
ZONES = ("Europe/Paris", "Asia/Kolkata")


def test_a_team_comes_back_as_it_was_saved(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        await store.create_team(SEARCH)
        assert await store.find_team("search") == SEARCH
        assert await store.find_team(TEAM) == SEARCH
        assert await store.find_team("ads") is None
        assert await store.teams() == [SEARCH]

    asyncio.run(with_store(store_at, act))


def test_names_are_unique_among_living_teams(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        await store.create_team(SEARCH)
        other = Team(OTHER_TEAM, "search", 2)
        with pytest.raises(NameTaken):
            await store.create_team(other)
        await store.save_team(replace(SEARCH, name="find"))
        await store.create_team(other)
        with pytest.raises(NameTaken):
            await store.save_team(replace(SEARCH, name="search", revision=1))
        assert await store.find_team("search") == other

    asyncio.run(with_store(store_at, act))


def test_deleting_a_team_frees_its_name_and_kills_its_keys(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        await store.create_team(SEARCH)
        await store.create_key(KEY)
        deleted = replace(SEARCH, deleted_at_ms=5)
        await store.save_team(deleted)
        assert await store.find_key(KEY.digest) is None
        assert await store.find_team("search") is None
        assert await store.find_team(TEAM) == deleted
        assert await store.teams() == []
        assert await store.teams(deleted=True) == [deleted]
        await store.create_team(Team(OTHER_TEAM, "search", 6))

    asyncio.run(with_store(store_at, act))


def test_a_digest_finds_its_key_and_team(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        await store.create_team(SEARCH)
        await store.create_key(KEY)
        assert await store.find_key(KEY.digest) == (KEY, SEARCH)
        assert await store.find_key("e" * 64) is None
        await store.save_key(replace(KEY, revoked_at_ms=2))
        assert await store.find_key(KEY.digest) is None
        assert await store.keys(TEAM) == [replace(KEY, revoked_at_ms=2)]

    asyncio.run(with_store(store_at, act))


def test_expired_keys_and_ended_overlaps_are_not_found(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        await store.create_team(SEARCH)
        await store.create_key(KEY)
        rotated = replace(KEY, digest="e" * 64, old_digest=KEY.digest, old_digest_until_ms=NOW_MS + 3_600_000)
        await store.save_key(rotated)
        assert await store.find_key("e" * 64) == (rotated, SEARCH)
        assert await store.find_key(KEY.digest) == (rotated, SEARCH)
        await store.save_key(replace(rotated, old_digest_until_ms=NOW_MS - 1, revision=1))
        assert await store.find_key(KEY.digest) is None
        await store.save_key(replace(rotated, expires_at_ms=NOW_MS - 1, revision=2))
        assert await store.find_key("e" * 64) is None

    asyncio.run(with_store(store_at, act))


def test_noting_a_use_undoes_nothing(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        await store.create_team(SEARCH)
        await store.create_key(KEY)
        await store.save_key(replace(KEY, revoked_at_ms=2))
        await store.touch_keys({(TEAM, KEY.id): 50, (TEAM, "k_none"): 50, (OTHER_TEAM, KEY.id): 99})
        await store.touch_keys({(TEAM, KEY.id): 40})
        assert await store.keys(TEAM) == [replace(KEY, revoked_at_ms=2, last_used_at_ms=50)]
        assert await store.find_key(KEY.digest) is None

    asyncio.run(with_store(store_at, act))


def test_a_change_of_what_was_changed_meanwhile_is_seen(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        await store.create_team(SEARCH)
        await store.create_key(KEY)
        (team,), (key,) = await store.teams(), await store.keys(TEAM)
        other = await store_at()
        await store.save_team(replace(team, models=("b/*",)))
        await store.touch_keys({(TEAM, KEY.id): 50})
        await store.save_key(replace(key, models=("b/*",)))
        with pytest.raises(Changed):
            await other.save_team(replace(team, timezone="UTC"))
        with pytest.raises(Changed):
            await other.save_key(replace(key, revoked_at_ms=1))
        assert await store.keys(TEAM) == [replace(KEY, models=("b/*",), last_used_at_ms=50)]
        assert await store.teams() == [replace(SEARCH, models=("b/*",))]
        assert await store.find_key(KEY.digest) is not None
        await other.aclose()

    asyncio.run(with_store(store_at, act))


def test_two_administrators_undo_nothing_of_each_others(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        other = await store_at()
        one, two = Administration(store), Administration(other)
        await one.create_team({"team": "search"}, ACTOR)
        key_id = (await one.create_key("search", {}, ACTOR)).key.id
        for number in range(5):
            globs = [f"org/{number}"]
            await asyncio.gather(
                one.update_key("search", key_id, {"models": globs}, ACTOR),
                two.update_key("search", key_id, {"providers": [f"p{number}"]}, ACTOR),
                one.update_team("search", {"models": globs}, ACTOR),
                two.update_team("search", {"timezone": ZONES[number % 2]}, ACTOR),
            )
            team, key = await one.key("search", key_id)
            assert (key.models, key.providers) == ((f"org/{number}",), (f"p{number}",))
            assert (team.models, team.timezone) == ((f"org/{number}",), ZONES[number % 2])
        await asyncio.gather(
            one.revoke_key("search", key_id, ACTOR), two.update_key("search", key_id, {"models": ["a/*"]}, ACTOR)
        )
        _, key = await one.key("search", key_id)
        assert key.revoked_at_ms is not None
        assert key.models == ("a/*",)
        assert await store.find_key(key.digest) is None
        await other.aclose()

    asyncio.run(with_store(store_at, act))


def test_the_audit_is_told_newest_first(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        acts = [AuditEntry(at, "cli", "host", "team.create", TEAM, None, {"name": "search"}) for at in (1, 2, 3)]
        for one in acts:
            await store.append_audit(one)
        assert await store.audit(limit=2) == [acts[2], acts[1]]

    asyncio.run(with_store(store_at, act))
