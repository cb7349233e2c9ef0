"""The connection to Redis, however it is deployed: single, Sentinel or Cluster.

Every error of the driver becomes StoreAway here. The driver's own retries are off: it would send again what may have
been applied. After a failed connection nothing is tried for a second, so that a dead Redis costs one time-out and not
one for each caller. What is behind a new connection is looked at before anything is asked of it: another process, or
another node, may have lost what the one before acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

from redis import exceptions
from redis.asyncio import Redis, RedisCluster, Sentinel, SentinelConnectionPool, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.store.base import StoreAway, StoreUnfit

TIMEOUT_S: Final = 0.25
REST_S: Final = 1.0
REPORT_TIMEOUT_S: Final = 10.0
VERSION_MIN: Final = (6, 2)
SENTINEL_NAME: Final = "mymaster"
SENTINEL_PORT: Final = 26379
REDIS_PORT: Final = 6379

T = TypeVar("T")
Client = Any
"""redis.asyncio.Redis or RedisCluster: the same commands without a common type."""


def make_client(url: str, mode: str, *, timeout_s: float = TIMEOUT_S) -> Client:
    """A client that connects at its first command. In cluster and sentinel mode the URL names several nodes, with
    commas between; in the latter its path names the master (`mymaster`)."""
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }
    if mode == "cluster":
        return _cluster_client(url, options)
    if mode == "sentinel":
        return _sentinel_client(url, options)
    return Redis.from_url(url, **options)


def _nodes_of(url: str, port: int, database: str | None = None) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Hosts and ports, and what their connections have in common. `database` takes the place of the URL's path."""
    parts = urlsplit(url)
    user, at, nodes = parts.netloc.rpartition("@")
    path = parts.path if database is None else database
    found = [
        parse_url(urlunsplit((parts.scheme, f"{user}{at}{node}", path, parts.query, ""))) for node in nodes.split(",")
    ]
    shared = {key: value for key, value in found[0].items() if key not in ("host", "port", "connection_class")}
    shared["ssl"] = found[0].get("connection_class") is SSLConnection
    return [(one.get("host", "localhost"), one.get("port", port)) for one in found], shared


def _cluster_client(url: str, options: dict[str, Any]) -> Client:
    nodes, shared = _nodes_of(url, REDIS_PORT)
    seeds = [ClusterNode(host, port) for host, port in nodes]
    # One retry follows a slot that moved. It may send again what was applied, which every script here endures.
    return RedisCluster(startup_nodes=seeds, **{**options, **shared, "retry": Retry(NoBackoff(), 1)})


def _sentinel_client(url: str, options: dict[str, Any]) -> Client:
    path = urlsplit(url).path.strip("/")
    name, database = (SENTINEL_NAME, path) if path.isdigit() or not path else (path, "")
    nodes, shared = _nodes_of(url, SENTINEL_PORT, database)
    manager: Client = Sentinel(nodes, sentinel_kwargs=options, **options, **shared)  # type: ignore[no-untyped-call]
    return manager.master_for(name, connection_pool_class=SentinelConnectionPool)


def node_of(client: Client, key: str) -> dict[str, Any]:
    """What sends a command without a key to the master that has this one: a cluster has several."""
    return {"target_nodes": client.get_node_from_key(key)} if isinstance(client, RedisCluster) else {}


class Link:
    """One client, and whether it is worth asking now."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rest_until_s = 0.0
        self._fit = False
        self._lives: frozenset[tuple[str, str]] | None = None
        self._changed: list[Callable[[], None]] = []
        pool = getattr(client, "connection_pool", None)
        if pool is not None:
            # Broken connections of a pool are replaced in silence. A cluster's has a pool for each node: what it lost
            # shows with the first call that fails.
            pool.connection_kwargs["redis_connect_func"] = self._connected

    def on_change(self, heard: Callable[[], None]) -> None:
        """`heard` is called when the nodes are other ones than before, or begun anew."""
        self._changed.append(heard)

    async def call(self, command: Callable[[Client], Awaitable[T]]) -> T:
        """Raises StoreAway, at once while the link rests."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._rest_until_s:
            raise StoreAway("Redis does not answer")
        try:
            if not self._fit:
                await self._check()
            return await command(self._client)
        except StoreUnfit as error:
            raise StoreAway(str(error)) from error
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError, TimeoutError) as error:
            self._rest_until_s = loop.time() + REST_S
            # The others of the pool are as old: each would fail once more when Redis is back.
            await self._reconnect()
            raise StoreAway("Redis does not answer") from error
        except exceptions.RedisClusterException as error:
            self._rest_until_s = loop.time() + REST_S
            self._fit = False
            raise StoreAway("the Redis cluster does not answer") from error
        except exceptions.RedisError as error:
            raise await self.refused(error) from error

    async def refused(self, error: exceptions.RedisError) -> StoreAway:
        """What an error that Redis answered means. A node that only reads is left at once."""
        if isinstance(error, exceptions.ReadOnlyError):
            await self._reconnect()
        return StoreAway(f"Redis refused: {_short(error)}")

    async def check(self) -> None:
        """Raises StoreUnfit where this Redis must not hold money; a Redis that is away is checked when it is back."""
        try:
            await self._check()
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError, TimeoutError):
            self._fit = False

    async def aclose(self) -> None:
        await self._client.aclose()
        manager = getattr(getattr(self._client, "connection_pool", None), "sentinel_manager", None)
        for sentinel in () if manager is None else manager.sentinels:
            await sentinel.aclose()

    async def _check(self) -> None:
        nodes = await self._nodes()
        for info in nodes:
            version = tuple(int(part) for part in str(info.get("redis_version", "0.0")).split(".")[:2])
            if version < VERSION_MIN:
                raise StoreUnfit(f"Redis {info.get('redis_version')} is too old, expected at least 6.2")
            policy = info.get("maxmemory_policy", "noeviction")
            if policy != "noeviction":
                raise StoreUnfit(
                    f"Redis evicts (maxmemory-policy is {policy}): it would throw away money. Set it to noeviction"
                )
        self._fit = True
        lives = frozenset((str(info.get("run_id", "")), str(info.get("master_replid", ""))) for info in nodes)
        before, self._lives = self._lives, lives
        if before is None:
            return
        if isinstance(self._client, RedisCluster):
            # One that does not answer now is no other when it does.
            self._lives |= before
        if lives - before:
            for heard in self._changed:
                heard()

    async def _nodes(self) -> list[dict[str, Any]]:
        """What each node says of itself; of a cluster the masters that answer. Raises redis-py's errors."""
        client = self._client
        if not isinstance(client, RedisCluster):
            return [await client.info()]
        await client.initialize()
        found, failure = [], None
        for node in client.get_primaries():
            try:
                found.append(await client.info(target_nodes=node))
            except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
                failure = error  # the teams of its slots will hear of it themselves
        if not found and failure is not None:
            raise failure
        return found

    async def _connected(self, connection: Any) -> None:
        """In the place of the driver's own greeting, which it does first."""
        await connection.on_connect()
        self._fit = False

    async def _reconnect(self) -> None:
        """Leaves idle connections; the next one asks where the master is."""
        pool = getattr(self._client, "connection_pool", None)
        if pool is not None:
            await pool.disconnect(inuse_connections=False)
        self._fit = False


def _short(error: exceptions.RedisError) -> str:
    """The kind of a Redis error without what it quotes: its first word where that is a code."""
    word = str(error).split(" ", 1)[0]
    return word if word.isupper() else type(error).__name__
