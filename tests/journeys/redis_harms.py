"""What befalls a Redis: each harm with what undoes it, on a real server behind a real proxy."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tests.chaos.firewall import Firewall
from tests.journeys.gateway_process import until
from tests.store.redis_server import RedisServer

Harm = Callable[[RedisServer, Firewall], Iterator[None]]
"""Does it, yields, and undoes it."""


@contextmanager
def befallen(redis: RedisServer, wall: Firewall, harm: Harm) -> Iterator[None]:
    course = harm(redis, wall)
    next(course)
    try:
        yield
    finally:
        next(course, None)


def killed(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    redis.kill()
    yield
    redis.start()


def frozen(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    redis.freeze()
    yield
    redis.thaw()


def walled_off(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    wall.shut()
    yield
    wall.open()


def slower_than_the_time_out(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    wall.set(latency_ms=400)
    yield
    wall.open()


def out_of_memory(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    redis.command("CONFIG", "SET", "maxmemory", "1")
    yield
    redis.command("CONFIG", "SET", "maxmemory", "0")


def evicting(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    wall.hang_up()
    yield
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")


def a_read_only_replica(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    redis.command("REPLICAOF", "127.0.0.1", "1")
    yield
    redis.command("REPLICAOF", "NO", "ONE")


def without_its_replicas(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
    yield
    redis.command("CONFIG", "SET", "min-replicas-to-write", "0")


def unable_to_save(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    """As with a full disk: the last snapshot failed, so that nothing is written any more."""
    gone = redis.folder / "gone"
    gone.mkdir()
    redis.command("CONFIG", "SET", "dir", str(gone))
    gone.rmdir()
    redis.command("CONFIG", "SET", "save", "3600 1")
    redis.command("BGSAVE")
    until(lambda: "rdb_last_bgsave_status:err" in redis.command("INFO", "persistence"), "a snapshot that fails")
    yield
    redis.command("CONFIG", "SET", "save", "")
    redis.command("CONFIG", "SET", "dir", str(redis.folder))


def asking_for_another_password(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    redis.command("CONFIG", "SET", "requirepass", "changed")
    wall.hang_up()
    yield
    redis.command("-a", "changed", "CONFIG", "SET", "requirepass", "")


def forbidding_scripts(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    redis.command("ACL", "SETUSER", "default", "-evalsha")
    yield
    redis.command("ACL", "SETUSER", "default", "+evalsha")


def busy_with_a_script(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    redis.command("CONFIG", "SET", "busy-reply-threshold", "50")
    endless = ["redis-cli", "-s", str(redis.socket_path), "EVAL", "while true do end", "0"]
    running = subprocess.Popen(endless, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield
    until(lambda: "OK" in redis.command("SCRIPT", "KILL"), "the end of the script")
    running.wait(10)


def loading(redis: RedisServer, wall: Firewall) -> Iterator[None]:
    """Begun anew, and reading a snapshot that takes its time."""
    redis.command("SAVE")
    redis.kill()
    options = redis.options
    redis.options = (*options, "--appendonly", "no", "--key-load-delay", "100000",
                     "--loading-process-events-interval-bytes", "1024")  # fmt: skip
    redis.start(wait=False)
    redis.options = options
    yield
    redis.kill()
    redis.start()


HARMS: Final = (
    killed, frozen, walled_off, slower_than_the_time_out, out_of_memory, evicting,
    a_read_only_replica, without_its_replicas, unable_to_save, asking_for_another_password, forbidding_scripts,
    busy_with_a_script, loading,
)  # fmt: skip
