"""Every key of a team lies in that team's slot; a store answers for its own clock, or is refused at once."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.store.base import Claim, Store, StoreUnfit
from gateway.store.open import open_store
from gateway.store.redis.names import TeamNames, TenantNames
from gateway.store.sqlite.database import SCHEMAS
from tests.store.conftest import OpenStore
from tests.store.samples import TEAM, entry, ids, run_of, with_store


def test_each_key_of_a_team_carries_its_id_as_the_only_hash_tag() -> None:
    names = TeamNames("gw", TEAM)
    keys = [
        names.watermark("i_{x}"), names.holds, names.leases, names.held, names.spent("month:2026-11"),
        names.rate("key:k_one"), names.slots("team"), names.hour(5), names.hours, names.day("2026-11-23"), names.days,
        names.tag("project", "2026-11-23"), names.tag_values("project", "2026-11-23"), names.entries, names.poison,
        names.answer("a"),
    ]  # fmt: skip
    assert all(key.startswith(f"gw:{{{TEAM}}}:") for key in keys)
    assert len(set(keys)) == len(keys)


def test_what_is_asked_before_a_team_is_known_shares_one_slot() -> None:
    names = TenantNames("other")
    keys = [names.teams, names.team_names, names.keys, names.digests, names.used, names.keys_of(TEAM), names.audit]
    assert {re.findall(r"\{(.*?)\}", key)[0] for key in keys} == {"tenants"}
    assert len(set(keys)) == len(keys)


def test_the_store_answers_and_tells_its_time(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        await store.ping()
        assert abs(await store.now_ms() - time.time() * 1000) < 2000

    asyncio.run(with_store(store_at, act))


@pytest.mark.parametrize("version", range(1, len(SCHEMAS)))
def test_a_database_of_an_earlier_version_gets_what_it_lacks(tmp_path: Path, version: int) -> None:
    async def act(store: Store) -> None:
        assert await store.claim_answer(Claim(TEAM, "place", "fingerprint", ids.next(), 1000)) is None
        await store.settle(run_of([entry(1)]))

    connection = sqlite3.connect(tmp_path / "store.db")
    connection.executescript("".join(SCHEMAS[:version]))
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    asyncio.run(with_store(lambda: open_store(state_dir=tmp_path), act))


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreUnfit, match="format 99"):
        asyncio.run(open_store(state_dir=tmp_path))


def test_a_process_that_comes_and_goes_takes_nothing_with_it(tmp_path: Path) -> None:
    """SQLite's last user throws the write-ahead log away. Nobody may take itself for that while we write."""
    come_and_go = """
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM entry").fetchone()[0])
"""

    def others_view() -> str:
        command = [sys.executable, "-c", come_and_go, str(tmp_path / "store.db")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    async def act() -> None:
        store = await open_store(state_dir=tmp_path)
        try:
            await store.settle(run_of([entry(1)]))
            await store.entries(from_ms=0, to_ms=1)  # the first report, on a connection of its own
            assert others_view() == "1"
            await store.settle(run_of([entry(2)]))
            assert others_view() == "2"
        finally:
            await store.aclose()

    asyncio.run(act())
