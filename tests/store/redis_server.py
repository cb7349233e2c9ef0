"""A real redis-server of the tests' own, on a unix socket and a loopback port, that can be killed and frozen."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

START_S = 10.0


class RedisServer:
    """`url` is its unix socket, `tcp_url` its port. What was written survives `kill` and `start`, except with
    `persist=False`."""

    def __init__(self, *options: str, persist: bool = True) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket_path = self.folder / "redis.sock"
        self.port = _free_port()
        self.options = options
        self._persist = persist
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket_path}"

    @property
    def tcp_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, wait: bool = True) -> Self:
        """Starts it, and waits until it answers."""
        command = [
            "redis-server",
            *("--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket_path)),
            *("--unixsocketperm", "700", "--dir", str(self.folder), "--save", "", "--daemonize", "no"),
            *("--appendonly", "yes" if self._persist else "no", "--logfile", str(self.folder / "redis.log")),
            *self.options,
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + START_S
        while wait and not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"redis-server did not start: {(self.folder / 'redis.log').read_text()[-2000:]}")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Ends it for good, its files too."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """kill -9; `start` brings it back with what its append-only file has."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def command(self, *words: str) -> str:
        """One command, as redis-cli answers it."""
        done = subprocess.run(
            ["redis-cli", "-s", str(self.socket_path), *words], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("redis-server is not running")
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(1)
                peer.connect(str(self.socket_path))
                peer.sendall(b"PING\r\n")
                return peer.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _free_port() -> int:
    """A port that nobody listens on, nor on the one 10 000 above it, which a cluster's bus needs; both below those that
    the system hands out."""
    while True:
        port = random.randint(20_000, 22_700)
        with socket.socket() as peer, socket.socket() as bus:
            try:
                peer.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port
