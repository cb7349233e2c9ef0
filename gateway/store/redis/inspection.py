"""What a Redis says of itself, and what this user may do there, for whoever checks an installation.

Looks at every node that answers for the ledger. Changes nothing: commands are tried with ACL DRYRUN.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis import exceptions

from gateway.store.base import StoreAway
from gateway.store.redis.connect import REPORT_TIMEOUT_S, Client, make_client

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "evalsha": ("0" * 40, "0"), "script|load": ("return 1",), "ping": (), "info": (), "time": (), "scan": ("0",),
    "wait": ("0", "1"), "select": ("0",), "exists": ("K",), "expire": ("K", "1"), "pexpire": ("K", "1"),
    "get": ("K",), "set": ("K", "1"), "hget": ("K", "f"), "hset": ("K", "f", "1"), "hdel": ("K", "f"),
    "hexists": ("K", "f"), "hincrby": ("K", "f", "1"), "del": ("K",), "hgetall": ("K",), "hkeys": ("K",),
    "hvals": ("K",), "hmget": ("K", "f"), "sadd": ("K", "m"), "scard": ("K",), "sismember": ("K", "m"),
    "smembers": ("K",), "zadd": ("K", "1", "m"), "zcard": ("K",), "zcount": ("K", "0", "1"), "zrem": ("K", "m"),
    "zrangebyscore": ("K", "0", "1"), "zremrangebyscore": ("K", "0", "1"), "zremrangebyrank": ("K", "0", "1"),
    "rpush": ("K", "v"), "lpush": ("K", "v"), "lrange": ("K", "0", "1"), "ltrim": ("K", "0", "1"),
    "xadd": ("K", "*", "f", "v"), "xread": ("streams", "K", "0"),
}  # fmt: skip
"""Every command that the gateway sends or its scripts call, with arguments to try it with; K stands for a key."""
CLUSTER_COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {"cluster|slots": ()}


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node. None: it does not tell this user."""

    version: str
    maxmemory_policy: str
    maxmemory_bytes: int
    used_bytes: int
    appendonly: bool
    appendfsync: str | None
    save: str | None
    """When snapshots are made; empty: never."""
    last_write_failed: bool
    """The last snapshot, or the last write of the append-only file."""
    replicas: int


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """The nodes; how far the clock of the first is ahead of ours; and the commands that this user may not use, None
    where the user may not ask (before Redis 7.0 nobody can)."""

    nodes: tuple[NodeFacts, ...]
    clock_offset_ms: int
    refused: tuple[str, ...] | None


async def inspect(url: str, mode: str, prefix: str) -> RedisFacts:
    """Asks. Raises StoreAway where nothing answers."""
    client = make_client(url, mode, timeout_s=REPORT_TIMEOUT_S)
    try:
        infos: dict[str, Any] = await client.info()
        is_many = bool(infos) and all(isinstance(info, dict) for info in infos.values())
        config = await _config(client)
        nodes = tuple(_node(info, config) for info in (infos.values() if is_many else (infos,)))
        return RedisFacts(nodes, await _offset_ms(client), await _refused(client, mode, prefix))
    except (exceptions.RedisError, exceptions.RedisClusterException, OSError, TimeoutError) as error:
        raise StoreAway(f"{type(error).__name__}: Redis does not answer as it should") from error
    finally:
        await client.aclose()


def acl_rule(prefix: str, *, cluster: bool = False) -> str:
    """What lets a user do all that is needed, and nothing else."""
    commands = [*COMMANDS, *(CLUSTER_COMMANDS if cluster else ())]
    return f"ACL SETUSER gateway on >PASSWORD ~{prefix}:* -@all " + " ".join(f"+{name}" for name in commands)


async def _config(client: Client) -> dict[str, str]:
    """What CONFIG GET tells; nothing where that is forbidden, as it is at many hosts of Redis."""
    try:
        found = await client.config_get("*")
    except exceptions.ResponseError:
        return {}
    return {_text(name): _text(value) for name, value in found.items()}


async def _offset_ms(client: Client) -> int:
    before_ms = time.time_ns() // 1_000_000
    seconds, microseconds = await client.time()
    after_ms = time.time_ns() // 1_000_000
    return int(seconds) * 1000 + int(microseconds) // 1000 - (before_ms + after_ms) // 2


async def _refused(client: Client, mode: str, prefix: str) -> tuple[str, ...] | None:
    wanted = {**COMMANDS, **(CLUSTER_COMMANDS if mode == "cluster" else {})}
    refused = []
    try:
        user = _text(await client.execute_command("ACL WHOAMI", **_somewhere(mode)))
        for name, arguments in wanted.items():
            words = [f"{prefix}:{{doctor}}:x" if one == "K" else one for one in arguments]
            told = await client.execute_command("ACL DRYRUN", user, *name.split("|"), *words, **_somewhere(mode))
            if _text(told) != "OK":
                refused.append(name)
    except exceptions.ResponseError:
        return None
    return tuple(refused)


def _somewhere(mode: str) -> dict[str, Any]:
    """Where a command without a key goes in a cluster."""
    return {"target_nodes": "random"} if mode == "cluster" else {}


def _node(info: Mapping[str, Any], config: Mapping[str, str]) -> NodeFacts:
    written = (info.get("rdb_last_bgsave_status", "ok"), info.get("aof_last_write_status", "ok"))
    return NodeFacts(
        version=str(info.get("redis_version", "0.0")),
        maxmemory_policy=str(info.get("maxmemory_policy", "noeviction")),
        maxmemory_bytes=int(info.get("maxmemory", 0)),
        used_bytes=int(info.get("used_memory", 0)),
        appendonly=bool(info.get("aof_enabled", 0)),
        appendfsync=config.get("appendfsync"),
        save=config.get("save"),
        last_write_failed=any(status != "ok" for status in written),
        replicas=int(info.get("connected_slaves", 0)),
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
