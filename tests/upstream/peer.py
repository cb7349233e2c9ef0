"""A scripted upstream on a real socket: each connection runs one coroutine that says what the peer does."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self
from urllib.parse import quote

from gateway.upstream.origin import Origin, parse_base_url
from gateway.upstream.pool import Pool
from gateway.upstream.response import Response
from gateway.upstream.timeouts import Timeouts

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
PATIENT = Timeouts(5, 5, 5, 5, 5)


class Conversation:
    """One accepted connection, seen from the peer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next whole request; raises IncompleteReadError once the caller has hung up."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head + await self.reader.readexactly(length)

    def say(self, data: bytes) -> None:
        if self.writer.is_closing():
            raise ConnectionAbortedError("the caller has hung up")
        self.writer.write(data)

    async def hung_up(self) -> None:
        """Returns once the caller has closed the connection, politely or not."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def hang_up(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close with a reset, as a peer does that crashes."""
        linger_none = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)
        self.writer.transport.abort()


Script = Callable[[Conversation], Awaitable[None]]


class Peer:
    """A listening upstream. `connections` counts those it accepted."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.origin = Origin("http", "127.0.0.1", 0)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._script(Conversation(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the caller left, or the test is over
        finally:
            writer.close()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=False)


@contextlib.asynccontextmanager
async def listening(
    script: Script, *, host: str = "127.0.0.1", socket_path: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    peer = Peer(script)
    if socket_path:
        server = await asyncio.start_unix_server(peer.accept, socket_path)
        peer.origin = parse_base_url(f"http+unix://{quote(socket_path, safe='')}")[0]
    else:
        server = await asyncio.start_server(peer.accept, host, 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        peer.origin = Origin("https" if tls else "http", host, port)
    try:
        yield peer
    finally:
        server.close()
        await peer.end()


class ThreadedPeer:
    """A peer in a thread of its own, so that it can act while the event loop under test stands still."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self.origin = Origin("http", "127.0.0.1", self._listener.getsockname()[1])
        self.requests = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for connection in self._accepted:
            connection.close()

    def close_first_connection(self) -> None:
        self._accepted[0].shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        """One request per connection, which then stays open."""
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                connection, _ = self._listener.accept()
                self._accepted.append(connection)
                received = b""
                while b"\r\n\r\n" not in received:
                    received += connection.recv(65536)
                self.requests += 1
                connection.sendall(OK)


@contextlib.asynccontextmanager
async def pooled(
    *, connections_max: int = 1000, idle_s: float = 30, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[Pool]:
    pool = Pool(connections_max=connections_max, idle_s=idle_s, ssl_context=ssl_context)
    try:
        yield pool
    finally:
        await pool.aclose()


async def get(pool: Pool, origin: Origin, timeouts: Timeouts = PATIENT) -> Response:
    return await pool.send(origin, b"GET", b"/", (), b"", timeouts)


async def post(pool: Pool, origin: Origin, body: bytes, timeouts: Timeouts = PATIENT) -> Response:
    return await pool.send(origin, b"POST", b"/v1/chat/completions", (), body, timeouts)


def always(answer: bytes) -> Script:
    """A peer that gives the same answer to every request."""

    async def script(talk: Conversation) -> None:
        while True:
            await talk.request()
            talk.say(answer)

    return script


def once(answer: bytes) -> Script:
    """A peer that answers one request and hangs up."""

    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(answer)

    return script


async def in_state(pool: Pool, origin: Origin, expected: str) -> None:
    """Wait until the pool says so of the origin; fails by the test's own time-out, saying nothing else."""
    while str(pool.stats().get(origin)) != expected:
        await asyncio.sleep(0.001)
