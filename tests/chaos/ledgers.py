"""The Redis that is harmed: one server that is set back to older copies of itself, or three under Sentinel that lose
their master while the others lag."""

from __future__ import annotations

import random
import shutil
import socket
import time
from collections.abc import Mapping
from typing import Final, Protocol, Self

from tests.faults.redis_fleet import Fleet
from tests.store.redis_server import RedisServer

COPIES_MAX: Final = 4
FAILOVER_S: Final = 25.0


class Ledger(Protocol):
    """A Redis for the gateway's environment, with what can be done to it. Each act ends with it well again."""

    acts: Mapping[str, int]
    """Names of methods here, with how often each is to be done beside the others."""

    @property
    def environ(self) -> Mapping[str, str]: ...

    def remember(self) -> None:
        """Keeps what `set_back` may go back to."""
        ...


class Single:
    """One server with an append-only file."""

    acts: Final = {"crash": 2, "freeze": 2, "set_back": 3}

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._server = RedisServer("--appendfsync", "everysec")
        self._copies = 0

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def environ(self) -> Mapping[str, str]:
        return {"REDIS_URL": self._server.tcp_url}

    def remember(self) -> None:
        target = self._server.folder / f"copy-{self._copies % COPIES_MAX}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self._server.folder / "appendonlydir", target)
        self._copies += 1

    def crash(self) -> None:
        self._server.kill()
        time.sleep(self._dice.uniform(0.1, 1.5))
        self._server.start()

    def freeze(self) -> None:
        self._server.freeze()
        try:
            time.sleep(self._dice.choice((0.4, 1.0, 5.0)))
        finally:
            self._server.thaw()

    def set_back(self) -> None:
        """Restarted on a copy of its file that is a few seconds old: what it acknowledged since is gone."""
        if self._copies == 0:
            return
        copy = self._dice.randrange(min(self._copies, COPIES_MAX))
        self._server.kill()
        shutil.rmtree(self._server.folder / "appendonlydir")
        shutil.copytree(self._server.folder / f"copy-{copy}", self._server.folder / "appendonlydir")
        self._server.start()


class Trio:
    """A master, two replicas and three sentinels."""

    acts: Final = {"freeze": 1, "lose_master": 3, "split": 1}

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._fleet = Fleet("sentinel", base=free_base(13), fsync="everysec")  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        self._fleet.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *_: object) -> None:
        self._fleet.down()

    @property
    def environ(self) -> Mapping[str, str]:
        sentinels = ",".join(f"127.0.0.1:{self._fleet.port[name]}" for name in ("q0", "q1", "q2"))
        return {"REDIS_URL": f"redis://{sentinels}/main", "GATEWAY_REDIS_MODE": "sentinel"}

    def remember(self) -> None:
        """Replicas that lag are what it goes back to."""

    def freeze(self) -> None:
        """Shorter than what sentinels take for an end."""
        master = self.master()
        self._fleet.freeze(master)
        try:
            time.sleep(0.6)
        finally:
            self._fleet.thaw(master)

    def lose_master(self) -> None:
        """The replicas stop following; the master goes on for a while, and dies with what it acknowledged."""
        master = self.master()
        for replica in ("m0", "r0", "r1"):
            if replica != master:
                self._fleet.sever(replica)
        time.sleep(self._dice.uniform(0.5, 2.0))
        self._fleet.kill(master)
        self._fleet.until(lambda: self.master() not in (master, ""), FAILOVER_S)
        self._fleet.start(master)
        self._fleet.cli(master, "REPLICAOF", "127.0.0.1", self._fleet.port[self.master()])
        self._fleet.until(self._is_whole, FAILOVER_S)

    def split(self) -> None:
        """The master is frozen until another is in its place; thawed, it takes itself for the master for a while."""
        master = self.master()
        self._fleet.freeze(master)
        try:
            self._fleet.until(lambda: self.master() not in (master, ""), FAILOVER_S)
        finally:
            self._fleet.thaw(master)
        self._fleet.until(self._is_whole, FAILOVER_S)

    def master(self) -> str:
        """The server that the sentinels name, where it says so itself; `` while there is none."""
        told = self._fleet.cli("q0", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main").split()
        named = [name for name in ("m0", "r0", "r1") if told and str(self._fleet.port[name]) == told[-1]]
        is_master = named and "role:master" in self._fleet.cli(named[0], "INFO", "replication")
        return named[0] if is_master else ""

    def _is_whole(self) -> bool:
        master = self.master()
        return bool(master) and "connected_slaves:2" in self._fleet.cli(master, "INFO", "replication")


def free_base(count: int) -> int:
    """The first of so many ports that nobody listens on, nor 10 000 above them, where a cluster has its bus."""
    while True:
        base = random.randrange(20_000, 22_700, 20)
        taken = False
        for port in (*range(base, base + count), *range(base + 10_000, base + 10_000 + count)):
            with socket.socket() as peer:
                taken = taken or peer.connect_ex(("127.0.0.1", port)) == 0
        if not taken:
            return base
