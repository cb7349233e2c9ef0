"""Runs the simulated providers on a socket: in a thread, in the running loop, or as a process of its own.

    python -m gateway.simulator.server --port 9100

Prints the port it listens on as its one line of output. Listens on 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.simulator.app import KEY_PREFIXES, Simulators, create_app
from gateway.simulator.registry import BASE_PATHS
from gateway.simulator.sending import HANG_UP

HOST: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 10.0
_BACKLOG: Final = 2048

__all__ = ["BASE_PATHS", "SimulatorServer", "main", "serve_in_loop"]


class _Connection(HttpToolsProtocol):
    """Leaves with each request the means to hang up on it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][HANG_UP] = self.transport.close


class _Guest(uvicorn.Server):
    """A server that leaves the signals of its process to whoever owns it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._accepting = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._accepting.set()

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve until the block is left, then close what is still open: a stalled answer never ends by itself."""
        task = asyncio.ensure_future(self.serve([listener]))
        try:
            await asyncio.wait_for(self._accepting.wait(), START_TIMEOUT_S)
            yield
        finally:
            for connection in list(self.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
            self.should_exit = True
            await task


class SimulatorServer:
    """All simulated providers on one port. `simulators` gives their script and ledger without HTTP.

    Use `start`/`stop` (a thread with its own loop), or `async with serve_in_loop()`.
    """

    def __init__(self, key_prefixes: tuple[str, ...] = KEY_PREFIXES) -> None:
        self.simulators = Simulators(key_prefixes)
        self.port = 0
        self._thread: threading.Thread | None = None
        self._end: Callable[[], object] | None = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://{HOST}:{self.port}"

    def base_url(self, provider: str) -> str:
        """The base URL to give a provider's adapter."""
        return self.url + BASE_PATHS[provider]

    def start(self, port: int = 0) -> int:
        """Serve from a thread; returns the port once requests are accepted."""
        listener = self._listen(port)
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listener, ready), name="simulators", daemon=True)
        self._thread.start()
        if not ready.wait(START_TIMEOUT_S):
            raise RuntimeError("the simulated providers did not start")
        return self.port

    def stop(self) -> None:
        """Stop serving and wait for the thread. Connections that are open are closed."""
        if self._thread is not None and self._end is not None:
            self._end()
            self._thread.join(START_TIMEOUT_S)
            self._thread = None

    def _run(self, listener: socket.socket, ready: threading.Event) -> None:
        async def until_stopped() -> None:
            stopped = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._end = lambda: loop.call_soon_threadsafe(stopped.set)
            async with self.serving(listener):
                ready.set()
                await stopped.wait()

        asyncio.run(until_stopped())

    def _listen(self, port: int) -> socket.socket:
        # Named TCP, or asyncio leaves Nagle's algorithm on: 40 ms for each answer on a kept connection.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
        self.port = listener.getsockname()[1]
        return listener

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve on a listening socket from the running loop until the block is left."""
        config = uvicorn.Config(
            create_app(self.simulators),
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = _Guest(config)
        try:
            async with server.serving(listener):
                yield
        finally:
            listener.close()


@asynccontextmanager
async def serve_in_loop(port: int = 0, key_prefixes: tuple[str, ...] = KEY_PREFIXES) -> AsyncIterator[SimulatorServer]:
    """Serve from the running loop: `async with serve_in_loop() as server: server.base_url("groq")`."""
    held = SimulatorServer(key_prefixes)
    async with held.serving(held._listen(port)):
        yield held


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gateway.simulator.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options = parser.parse_args(arguments)

    async def until_interrupted() -> None:
        interrupted = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
        async with serve_in_loop(options.port) as server:
            sys.stdout.write(f"{server.port}\n")
            sys.stdout.flush()
            await interrupted.wait()

    asyncio.run(until_interrupted())
    return 0


if __name__ == "__main__":
    sys.exit(main())
