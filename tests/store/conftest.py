"""Each test of this folder that asks for `store_at` runs on every store: SQLite, a real redis-server, and a real
cluster of one node, which refuses any script whose keys lie in more than one slot."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.store.base import Store
from gateway.store.open import open_store
from tests.store.redis_server import START_S, RedisServer

OpenStore = Callable[[], Awaitable[Store]]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(persist=False) as server:
        yield server


@pytest.fixture(scope="session")
def cluster_server() -> Iterator[RedisServer]:
    with RedisServer("--cluster-enabled", "yes", persist=False) as server:
        server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        deadline_s = time.monotonic() + START_S
        while "cluster_state:ok" not in server.command("CLUSTER", "INFO") and time.monotonic() < deadline_s:
            time.sleep(0.02)
        yield server


@pytest.fixture(params=["sqlite", "redis", "cluster"])
def store_at(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Opens the same empty store each time it is called, as another process would."""
    if request.param == "sqlite":
        return lambda: open_store(state_dir=tmp_path)
    if request.param == "cluster":
        cluster: RedisServer = request.getfixturevalue("cluster_server")
        cluster.command("FLUSHALL")
        return lambda: open_store(state_dir=tmp_path, redis_url=cluster.tcp_url, redis_mode="cluster")
    server: RedisServer = request.getfixturevalue("redis_server")
    server.command("FLUSHALL")
    return lambda: open_store(state_dir=tmp_path, redis_url=server.url)
