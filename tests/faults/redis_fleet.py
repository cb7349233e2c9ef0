#!/usr/bin/env python3
# Standard library only and in a style of its own, since it is copied to wherever a fault is needed.
# ruff: noqa
# fmt: off
# mypy: ignore-errors
"""redis_fleet - real Redis servers on loopback, to be killed, frozen, filled and promoted.

    python tests/faults/redis_fleet.py single|pair|sentinel|cluster [--base 7400] [--dir DIR]
                          [--fsync always|everysec|no] [--set maxmemory=10mb ...]

Prints one JSON line with names, ports and process ids once the fleet answers, then waits;
SIGTERM or SIGINT ends every server it started and removes the directory it made.
Needs redis-server and redis-cli (Debian: redis-server, redis-tools; redis-sentinel for sentinel).

    single    s0                               port base
    pair      m0 and its replica r0            base, base+1
    sentinel  m0, r0, r1, three sentinels      base..base+2, base+10..base+12  (set "main")
    cluster   three masters, three replicas    base..base+5 (bus ports +10000)

In a test it is a library:

    with Fleet("pair", base=7400) as f:
        f.kill("m0")            # SIGKILL
        f.freeze("m0"); f.thaw("m0")     # SIGSTOP / SIGCONT: alive, silent
        f.start("m0")           # again, on the same directory
        f.cli("r0", "REPLICAOF", "NO", "ONE")
        f.sever("r0"); f.rejoin("r0")     # cut replication, not the clients

Everything binds to 127.0.0.1 only. Standard library only.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SHAPES = {"single": ["s0"], "pair": ["m0", "r0"], "sentinel": ["m0", "r0", "r1"],
          "cluster": ["c0", "c1", "c2", "c3", "c4", "c5"]}


class Fleet:
    def __init__(self, shape="single", base=7400, dir=None, fsync="always", settings=()):
        self.shape, self.base, self.settings = shape, base, dict(settings)
        self.own = dir is None
        self.dir = dir or tempfile.mkdtemp(prefix="fleet-")
        self.fsync = fsync
        self.port = {n: base + i for i, n in enumerate(SHAPES[shape])}
        self.proc: dict[str, subprocess.Popen] = {}

    def __enter__(self):
        try:
            return self.up()
        except BaseException:
            self.down()
            raise

    def __exit__(self, *exc):
        self.down()

    def up(self) -> "Fleet":
        for name in SHAPES[self.shape]:
            self.start(name)
        if self.shape == "cluster":
            hosts = ["127.0.0.1:%d" % p for p in self.port.values()]
            subprocess.run(["redis-cli", "--cluster", "create", *hosts, "--cluster-replicas",
                            "1", "--cluster-yes"], check=True, stdout=subprocess.DEVNULL)
            self.until(lambda: all("cluster_state:ok" in self.cli(n, "CLUSTER", "INFO")
                                   for n in self.port))
            self.until(lambda: sum("master_link_status:up" in self.cli(n, "INFO", "replication")
                                   for n in self.port) == 3)
            self.until(lambda: all(self.cli(n, "CLUSTER", "NODES").count("slave") == 3
                                   for n in self.port))
            self.until(lambda: sum(self.streaming(n, 1) for n in self.port) == 3)
        elif self.shape != "single":
            replicas = [n for n in self.port if n != "m0"]
            self.until(lambda: all("master_link_status:up" in self.cli(n, "INFO", "replication")
                                   for n in replicas))
            self.until(lambda: self.streaming("m0", len(replicas)))
        if self.shape == "sentinel":
            for i in range(3):
                self.start_sentinel(i)
            self.until(lambda: all("num-other-sentinels\n2" in
                                   self.cli("q%d" % i, "SENTINEL", "MASTER", "main")
                                   for i in range(3)), 30)
        return self

    def streaming(self, master: str, replicas: int) -> bool:
        """Whether the replicas have acknowledged a write made now. A link that is up, even in
        state online, is not enough: a master streams to a new replica only after its first
        ACK, up to a second later, and what it acknowledges to clients until then is not safe."""
        out = subprocess.run(["redis-cli", "-p", str(self.port[master])], capture_output=True,
                             input="FLUSHALL\nWAIT %d 1500\n" % replicas, text=True).stdout
        return out.split() == ["OK", str(replicas)]

    def start(self, name: str) -> None:
        home = os.path.join(self.dir, name)
        os.makedirs(home, exist_ok=True)
        args = {"port": self.port[name], "bind": "127.0.0.1", "dir": home, "save": "",
                "appendonly": "yes", "appendfsync": self.fsync, "logfile": home + "/log",
                "repl-diskless-sync-delay": 0, "enable-debug-command": "local",
                **self.settings}
        if name.startswith("r"):
            args["replicaof"] = "127.0.0.1 %d" % self.port["m0"]
        if self.shape == "cluster":
            args |= {"cluster-enabled": "yes", "cluster-node-timeout": 1500,
                     "cluster-require-full-coverage": "no"}
        argv = ["redis-server"]
        for k, v in args.items():
            argv += ["--" + k, *(str(v).split(" ") if k == "replicaof" else [str(v)])]
        self.proc[name] = subprocess.Popen(argv, stdout=subprocess.DEVNULL,
                                           start_new_session=True)
        self.until(lambda: self.cli(name, "PING") in ("PONG", "NOAUTH Authentication required."))
        if self.proc[name].poll() is not None:  # then it was another server that answered
            raise RuntimeError("port %d is taken" % self.port[name])

    def start_sentinel(self, i: int) -> None:
        name, port = "q%d" % i, self.base + 10 + i
        conf = os.path.join(self.dir, name + ".conf")
        with open(conf, "w") as f:
            f.write("port %d\nbind 127.0.0.1\nlogfile %s.log\n"
                    "sentinel monitor main 127.0.0.1 %d 2\n"
                    "sentinel down-after-milliseconds main 1000\n"
                    "sentinel failover-timeout main 5000\n" % (port, conf, self.port["m0"]))
        self.port[name] = port
        self.proc[name] = subprocess.Popen(["redis-server", conf, "--sentinel"],
                                           stdout=subprocess.DEVNULL, start_new_session=True)
        self.until(lambda: self.cli(name, "PING") == "PONG")

    def cli(self, name: str, *words) -> str:
        try:
            return subprocess.run(["redis-cli", "-p", str(self.port[name]), *map(str, words)],
                                  capture_output=True, text=True, timeout=5).stdout.strip()
        except subprocess.TimeoutExpired:
            return ""

    def kill(self, name: str) -> None:
        self.proc[name].kill()
        self.proc[name].wait()

    def freeze(self, name: str) -> None:
        self.proc[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self.proc[name].send_signal(signal.SIGCONT)

    def sever(self, replica: str) -> None:
        """The replica loses its master (and keeps answering reads)."""
        self.cli(replica, "REPLICAOF", "127.0.0.1", 1)

    def rejoin(self, replica: str) -> None:
        self.cli(replica, "REPLICAOF", "127.0.0.1", self.port["m0"])

    @staticmethod
    def until(check, seconds=15) -> None:
        end = time.monotonic() + seconds
        while not check():
            if time.monotonic() > end:
                raise TimeoutError("the fleet did not come up")
            time.sleep(0.05)

    def down(self) -> None:
        for proc in self.proc.values():
            with contextlib.suppress(ProcessLookupError):
                proc.send_signal(signal.SIGCONT)
                proc.kill()
                proc.wait()
        if self.own:
            shutil.rmtree(self.dir, ignore_errors=True)


def main() -> int:
    p = argparse.ArgumentParser(description="real Redis servers on loopback")
    p.add_argument("shape", choices=SHAPES)
    p.add_argument("--base", type=int, default=7400)
    p.add_argument("--dir")
    p.add_argument("--fsync", default="always", choices=["always", "everysec", "no"])
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    a = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Fleet(a.shape, a.base, a.dir, a.fsync, [s.split("=", 1) for s in a.set]) as f:
        print(json.dumps({"shape": a.shape, "ports": f.port,
                          "pids": {n: q.pid for n, q in f.proc.items()}}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
