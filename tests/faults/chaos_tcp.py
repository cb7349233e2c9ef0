#!/usr/bin/env python3
# Standard library only and in a style of its own, since it is copied to wherever a fault is needed.
# ruff: noqa
# fmt: off
# mypy: ignore-errors
"""chaos_tcp - a TCP proxy whose faults can be switched while it runs.

Put it between the gateway and Redis, or between the gateway and an upstream:

    python tests/faults/chaos_tcp.py --route redis=127.0.0.1:7001>127.0.0.1:6379 \
                        --route up=127.0.0.1:7002>127.0.0.1:9001   \
                        --control 127.0.0.1:7099 --log chaos.jsonl

Control (HTTP, so curl or httpx will do; `route` may be left out = all routes):

    GET  /                                        state and counters of every route
    POST /set?route=redis&latency_ms=200          change faults, the others stay as they are
    POST /set?route=redis&stall=both&for_s=5      the same, healed by itself after 5 s
    POST /heal?route=redis                        remove every fault
    POST /kill?route=redis[&how=rst|fin]          end the connections that are open now

Signals: SIGUSR1 stall every route / SIGUSR2 reset all open connections / SIGHUP heal.

Faults of a route ("dir" is up = client to server, down = server to client, both, off):

    latency_ms, jitter_ms   delay of each piece of data, both ways; order is kept
    bandwidth               bytes per second, each way (0 = no limit)
    slice_bytes, slice_ms   cut data in pieces of this size with a pause between them
    stall=dir               stop forwarding; the data is held and delivered after healing
    blackhole=dir           swallow data silently; such connections are reset when healed
    cut_after=N, cut_dir    end the connection once N bytes have passed in that direction
    cut_how=rst|fin|half    RST, FIN both ways, or FIN toward the receiver only (half-close)
    refuse=rst|listen       reset each new connection, or stop listening (ECONNREFUSED)
    accept_ms               pause between accepting a client and connecting onwards
    lose_reply=P            with probability P throw a reply away and reset the client: the
                            server HAS done the work, the client cannot know
    lose_request=P          with probability P throw a request away and reset the client: the
                            server has NOT done the work, the client cannot know
    corrupt=P               with probability P flip one bit of a piece of data
    flap_on_ms, flap_off_ms let the faults above apply only in turns of on and off

In a test it is also a library:

    async with Chaos("127.0.0.1:0", "127.0.0.1:6379") as c:
        c.set(lose_reply=0.2); ...; c.heal(); print(c.address, c.stats)

Standard library only. Addresses: host:port or unix:/path. Nothing here is for use
against a host that is not yours.
"""
from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, fields
from urllib.parse import parse_qsl, urlsplit

READ = 65536


@dataclass
class Faults:
    latency_ms: float = 0
    jitter_ms: float = 0
    bandwidth: float = 0
    slice_bytes: int = 0
    slice_ms: float = 0
    stall: str = "off"
    blackhole: str = "off"
    cut_after: int = -1
    cut_dir: str = "down"
    cut_how: str = "rst"
    refuse: str = "off"
    accept_ms: float = 0
    lose_reply: float = 0
    lose_request: float = 0
    corrupt: float = 0
    flap_on_ms: float = 0
    flap_off_ms: float = 0


KINDS = {f.name: {"float": float, "int": int, "str": str}[f.type] for f in fields(Faults)}
CHOICES = {
    "stall": ("off", "up", "down", "both"), "blackhole": ("off", "up", "down", "both"),
    "cut_dir": ("up", "down"), "cut_how": ("rst", "fin", "half"),
    "refuse": ("off", "rst", "listen"),
}


class Ended(Exception):
    """A fault ended this connection."""


def split_addr(addr: str):
    if addr.startswith("unix:"):
        return addr[5:], None
    host, _, port = addr.rpartition(":")
    return host.strip("[]"), int(port)


def hard_reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the peer sees RST, not FIN."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Pair:
    """One client connection and its connection onwards."""

    def __init__(self, chaos: "Chaos", client, server):
        self.chaos, self.client, self.server = chaos, client, server
        self.passed = {"up": 0, "down": 0}
        self.shut: set[str] = set()  # ways that were half-closed
        self.swallowed = False

    def end(self, how: str = "rst") -> None:
        for _, writer in (self.client, self.server):
            with contextlib.suppress(Exception):
                hard_reset(writer) if how == "rst" else writer.close()


class Chaos:
    def __init__(self, listen: str, upstream: str, name: str = "chaos", seed=None, log=None):
        self.listen, self.upstream, self.name = listen, upstream, name
        self.faults, self.rng, self.log = Faults(), random.Random(seed), log
        self.pairs: set[Pair] = set()
        self.changed = asyncio.Event()
        self.stats = dict(accepted=0, refused=0, connect_failed=0, bytes_up=0, bytes_down=0,
                          cut=0, replies_lost=0, requests_lost=0, swallowed=0, corrupted=0)
        self.server: asyncio.AbstractServer | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.tasks: set[asyncio.Task] = set()
        self.born = time.monotonic()

    # ---- life
    async def __aenter__(self):
        await self.open()
        return self

    async def __aexit__(self, *exc):
        await self.close()

    async def open(self) -> None:
        if self.server is not None:
            return
        host, port = split_addr(self.listen)
        if port is None:
            self.server = await asyncio.start_unix_server(self._accept, host, limit=READ)
        else:
            self.server = await asyncio.start_server(
                self._accept, host, port, limit=READ, backlog=1024, reuse_address=True)
            if port == 0:  # keep the port that was given, also over refuse=listen
                self.listen = "%s:%d" % (host, self.server.sockets[0].getsockname()[1])

    @property
    def address(self) -> str:
        return self.listen

    async def _unlisten(self) -> None:
        if self.server is not None:
            server, self.server = self.server, None
            server.close()  # connections that are open stay open

    async def close(self) -> None:
        await self._unlisten()
        self.kill("rst")
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    # ---- control
    def set(self, for_s: float = 0, **kw) -> None:
        new = asdict(self.faults)
        for key, value in kw.items():
            if key not in KINDS:
                raise ValueError("no such fault: " + key)
            value = KINDS[key](value)
            if key in CHOICES and value not in CHOICES[key]:
                raise ValueError("%s must be one of %s" % (key, ", ".join(CHOICES[key])))
            new[key] = value
        had_hole = self.faults.blackhole != "off"
        self.faults = Faults(**new)
        if had_hole and self.faults.blackhole == "off":
            for pair in list(self.pairs):  # their streams have gaps now
                if pair.swallowed:
                    pair.end("rst")
        task = self._unlisten() if self.faults.refuse == "listen" else self.open()
        self._spawn(task)
        self.changed.set()
        self.changed = asyncio.Event()
        if self.timer:
            self.timer.cancel()
            self.timer = None
        if for_s:
            self.timer = asyncio.get_running_loop().call_later(for_s, self.heal)
        self.note("set", **{k: v for k, v in new.items() if v != getattr(Faults, k)})

    def heal(self) -> None:
        self.set(**asdict(Faults()))

    def kill(self, how: str = "rst") -> int:
        pairs = list(self.pairs)
        for pair in pairs:
            pair.end(how)
        self.note("kill", how=how, connections=len(pairs))
        return len(pairs)

    def state(self) -> dict:
        return {"listen": self.listen, "upstream": self.upstream,
                "listening": self.server is not None, "open": len(self.pairs),
                "faults": {k: v for k, v in asdict(self.faults).items()
                           if v != getattr(Faults, k)}, **self.stats}

    def note(self, event: str, **kw) -> None:
        if self.log:
            self.log.write(json.dumps({"t": round(time.time(), 6), "route": self.name,
                                       "event": event, **kw}) + "\n")
            self.log.flush()

    def _spawn(self, coro) -> asyncio.Task:
        task = asyncio.ensure_future(coro)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # ---- forwarding
    def active(self) -> Faults:
        f = self.faults
        if f.flap_on_ms > 0:
            at = (time.monotonic() - self.born) * 1000 % (f.flap_on_ms + f.flap_off_ms)
            if at >= f.flap_on_ms:
                return Faults()
        return f

    async def _accept(self, reader, writer) -> None:
        f = self.active()
        if f.refuse == "rst":
            self.stats["refused"] += 1
            hard_reset(writer)
            return
        self.stats["accepted"] += 1
        if f.accept_ms:
            await asyncio.sleep(f.accept_ms / 1000)
        host, port = split_addr(self.upstream)
        try:
            onward = await (asyncio.open_unix_connection(host, limit=READ) if port is None
                            else asyncio.open_connection(host, port, limit=READ))
        except OSError:
            self.stats["connect_failed"] += 1
            hard_reset(writer)
            return
        for _, w in ((0, writer), onward):
            sock = w.get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = Pair(self, (reader, writer), onward)
        self.pairs.add(pair)
        try:
            await asyncio.gather(self._pump(pair, "up"), self._pump(pair, "down"))
        except (Ended, OSError):
            pass
        except asyncio.CancelledError:
            pass
        finally:
            self.pairs.discard(pair)
            for w in (writer, onward[1]):
                with contextlib.suppress(Exception):
                    w.close()

    async def _pump(self, pair: Pair, way: str) -> None:
        source, sink = ((pair.client[0], pair.server[1]) if way == "up"
                        else (pair.server[0], pair.client[1]))
        line: asyncio.Queue = asyncio.Queue(maxsize=256)  # (due, data), a delay line
        reading = asyncio.ensure_future(self._read(pair, way, source, line))
        try:
            while True:
                due, data = await line.get()
                while (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                if data is None:
                    with contextlib.suppress(OSError, RuntimeError):
                        sink.write_eof()
                    return
                if isinstance(data, Exception):
                    raise data
                await self._write(pair, way, sink, data)
        except (Ended, ConnectionError):
            pair.end("rst")
            raise
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _read(self, pair, way, source, line) -> None:
        last = 0.0
        while True:
            try:
                data = await source.read(READ)
            except ConnectionError as err:
                await line.put((0, err))
                return
            f = self.active()
            delay = max(0.0, f.latency_ms + self.rng.uniform(-f.jitter_ms, f.jitter_ms)) / 1000
            last = max(last, time.monotonic() + delay)  # order is kept
            await line.put((last, data or None))
            if not data:
                return

    async def _write(self, pair: Pair, way: str, sink, data: bytes) -> None:
        while (f := self.active()).stall in (way, "both"):
            if sink.is_closing():
                raise Ended
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.changed.wait(), 0.05 if f.flap_on_ms else 0.25)
        if way in pair.shut:
            return
        if f.blackhole in (way, "both"):
            pair.swallowed = True
            self.stats["swallowed"] += len(data)
            return
        lose = f.lose_request if way == "up" else f.lose_reply
        if lose and self.rng.random() < lose:
            key = "requests_lost" if way == "up" else "replies_lost"
            self.stats[key] += 1
            self.note(key[:-1], bytes=len(data))
            raise Ended
        if f.corrupt and self.rng.random() < f.corrupt:
            at = self.rng.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ (1 << self.rng.randrange(8))]) + data[at + 1:]
            self.stats["corrupted"] += 1
        cut = f.cut_after >= 0 and f.cut_dir == way
        if cut:
            data = data[:max(0, f.cut_after - pair.passed[way])]
        size = f.slice_bytes or len(data) or 1
        for at in range(0, len(data), size):
            piece = data[at:at + size]
            if f.bandwidth:
                await asyncio.sleep(len(piece) / f.bandwidth)
            sink.write(piece)
            await sink.drain()
            pair.passed[way] += len(piece)
            self.stats["bytes_" + way] += len(piece)
            if f.slice_bytes and f.slice_ms:
                await asyncio.sleep(f.slice_ms / 1000)
        if cut and pair.passed[way] >= f.cut_after:
            self.stats["cut"] += 1
            self.note("cut", how=f.cut_how, way=way, passed=pair.passed[way])
            if f.cut_how == "half":
                with contextlib.suppress(OSError, RuntimeError):
                    sink.write_eof()
                pair.shut.add(way)
                return
            pair.end(f.cut_how)
            raise Ended


# ---- the control port: a few lines of HTTP
async def control(reader, writer, routes: dict[str, Chaos]) -> None:
    code, body = 200, {}
    try:
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode("latin-1")
        method, target, _ = head.split("\r\n", 1)[0].split(" ", 2)
        url = urlsplit(target)
        args = dict(parse_qsl(url.query))
        chosen = [routes[args.pop("route")]] if "route" in args else list(routes.values())
        if url.path == "/set" and method == "POST":
            for_s = float(args.pop("for_s", 0))
            for route in chosen:
                route.set(for_s=for_s, **args)
        elif url.path == "/heal" and method == "POST":
            for route in chosen:
                route.heal()
        elif url.path == "/kill" and method == "POST":
            for route in chosen:
                route.kill(args.get("how", "rst"))
        elif url.path != "/" or method != "GET":
            code = 404
        await asyncio.sleep(0)
        body = {route.name: route.state() for route in routes.values()}
    except Exception as err:  # a wrong call must not end the proxy
        code, body = 400, {"error": "%s: %s" % (type(err).__name__, err)}
    data = json.dumps(body, indent=1).encode() + b"\n"
    writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                 b"Connection: close\r\n\r\n" % (code, len(data)) + data)
    with contextlib.suppress(OSError):
        await writer.drain()
    writer.close()


async def main(argv=None) -> None:
    p = argparse.ArgumentParser(description="TCP proxy with switchable faults")
    p.add_argument("--route", action="append", required=True, metavar="NAME=LISTEN>UPSTREAM")
    p.add_argument("--control", default="127.0.0.1:7099")
    p.add_argument("--seed", type=int, help="makes the random faults repeatable")
    p.add_argument("--log", help="append each change and each lost reply as JSONL")
    p.add_argument("--fault", action="append", default=[], metavar="NAME=VALUE",
                   help="a fault that is on from the start, on every route")
    a = p.parse_args(argv)
    log = open(a.log, "a") if a.log else None
    routes: dict[str, Chaos] = {}
    for spec in a.route:
        name, _, rest = spec.partition("=")
        listen, _, upstream = rest.partition(">")
        routes[name] = Chaos(listen, upstream, name, a.seed, log)
        await routes[name].open()
        if a.fault:
            routes[name].set(**dict(f.split("=", 1) for f in a.fault))
    host, port = split_addr(a.control)
    ctl = await asyncio.start_server(lambda r, w: control(r, w, routes), host, port)
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    each = lambda act: [act(route) for route in routes.values()]
    loop.add_signal_handler(signal.SIGUSR1, lambda: each(lambda r: r.set(stall="both")))
    loop.add_signal_handler(signal.SIGUSR2, lambda: each(lambda r: r.kill("rst")))
    loop.add_signal_handler(signal.SIGHUP, lambda: each(lambda r: r.heal()))
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, done.set)
    print("ready " + " ".join("%s=%s" % (n, r.address) for n, r in routes.items()), flush=True)
    await done.wait()
    ctl.close()
    for route in routes.values():
        await route.close()


if __name__ == "__main__":
    try:
        import uvloop  # optional, faster
        uvloop.install()
    except ImportError:
        pass
    sys.exit(asyncio.run(main()))
