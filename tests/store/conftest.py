"""Each test of this folder that asks for `store_at` runs on both stores: real redis-server, and SQLite."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.store.base import Store
from gateway.store.open import open_store
from tests.store.redis_server import RedisServer

OpenStore = Callable[[], Awaitable[Store]]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(persist=False) as server:
        yield server


@pytest.fixture(params=["redis", "sqlite"])
def store_at(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Opens the same empty store each time it is called, as another process would."""
    if request.param == "sqlite":
        return lambda: open_store(state_dir=tmp_path)
    server: RedisServer = request.getfixturevalue("redis_server")
    server.command("FLUSHALL")
    return lambda: open_store(state_dir=tmp_path, redis_url=server.url)
