"""Opens the store that the environment asks for: Redis where a URL is given, else the embedded one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.journal.filesystems import NetworkFileSystem, refuse_network
from gateway.store.base import KEEP, Retention, Store, StoreAway, StoreUnfit
from gateway.store.redis.store import RedisStore
from gateway.store.sqlite.store import SqliteStore

DATABASE_NAME: Final = "store.db"


async def open_store(
    *,
    state_dir: Path,
    redis_url: str | None = None,
    redis_mode: str = "single",
    redis_prefix: str = "gw",
    retention: Retention = KEEP,
) -> Store:
    """A store that may still be away: only what makes it unfit is found out here. Raises StoreUnfit, or OSError where
    the state folder cannot be made."""
    if redis_url is not None:
        store = RedisStore(redis_url, redis_mode, redis_prefix, retention)
        try:
            await store.check()
        except StoreUnfit:
            await store.aclose()
            raise
        return store
    await asyncio.to_thread(state_dir.mkdir, mode=0o700, parents=True, exist_ok=True)
    try:
        refuse_network(state_dir)
    except NetworkFileSystem as error:
        raise StoreUnfit(str(error)) from error
    embedded = SqliteStore(state_dir / DATABASE_NAME)
    try:
        with suppress(StoreAway):
            await embedded.ping()
    except StoreUnfit:
        await embedded.aclose()
        raise
    return embedded
