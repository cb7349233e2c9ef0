"""What an administrator did is said to be durable once every replica has it, and said not to be where one has not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.administration import Actor, Administration
from gateway.cli.main import main
from gateway.store.base import Store
from gateway.store.open import open_store
from tests.store.redis_server import START_S, RedisServer
from tests.store.samples import with_store

ACTOR = Actor("cli", "here")


@pytest.fixture(scope="module")
def replicated() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A master, and a replica that has caught up with it."""
    with RedisServer("--repl-diskless-sync-delay", "0", persist=False) as master:
        with RedisServer("--replicaof", "127.0.0.1", str(master.port), persist=False) as replica:
            until_online(master)
            yield master, replica


def until_online(master: RedisServer) -> None:
    deadline_s = time.monotonic() + START_S
    while "state=online" not in master.command("INFO", "replication"):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    assert master.command("WAIT", "1", str(int(START_S * 1000))) == "1"


def test_a_frozen_replica_makes_it_not_durable(replicated: tuple[RedisServer, RedisServer], tmp_path: Path) -> None:
    master, replica = replicated

    async def act(store: Store) -> None:
        acts = Administration(store)
        await acts.create_team({"team": "search"}, ACTOR)
        issued = await acts.create_key("search", {}, ACTOR)
        assert acts.durable
        # What the replica has is the change itself, and not only the audit of it.
        assert replica.command("HEXISTS", "gw:{tenants}:digest", issued.key.digest) == "1"

        replica.freeze()
        try:
            began_s = time.monotonic()
            acts = Administration(store)
            await acts.revoke_key("search", issued.key.id, ACTOR)
            assert not acts.durable
            assert 0.9 < time.monotonic() - began_s < 3
            assert await store.find_key(issued.key.digest) is None
        finally:
            replica.thaw()
        acts = Administration(store)
        await acts.update_team("search", {"models": ["b/*"]}, ACTOR)
        assert acts.durable
        assert replica.command("HEXISTS", "gw:{tenants}:digest", issued.key.digest) == "0"

    asyncio.run(with_store(lambda: open_store(state_dir=tmp_path, redis_url=master.url), act))


def test_a_command_says_so(
    replicated: tuple[RedisServer, RedisServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    master, replica = replicated
    monkeypatch.setenv("REDIS_URL", master.url)
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path))
    assert main(["teams", "create", "ads", "--json"]) == 0
    told = capsys.readouterr()
    assert "durable" not in json.loads(told.out)
    assert told.err == ""
    replica.freeze()
    try:
        assert main(["keys", "create", "--team", "ads", "--json"]) == 0
    finally:
        replica.thaw()
    told = capsys.readouterr()
    assert json.loads(told.out)["durable"] is False
    assert "not every replica" in told.err


def test_without_replicas_there_is_nobody_to_wait_for(cluster_server: RedisServer, tmp_path: Path) -> None:
    cluster_server.command("FLUSHALL")

    async def act(store: Store) -> None:
        acts = Administration(store)
        await acts.create_team({"team": "search"}, ACTOR)
        assert acts.durable
        assert len(await acts.audit()) == 1

    url = cluster_server.tcp_url
    asyncio.run(with_store(lambda: open_store(state_dir=tmp_path, redis_url=url, redis_mode="cluster"), act))
