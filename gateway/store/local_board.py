"""The workers' board of one host: each has a datagram socket in a folder, and sends what it says to all the others'."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.store.base import StoreAway
from gateway.store.board import POST_LIFE_MS, WAKE_S, Reading

POST_BYTES_MAX: Final = 128 << 10
INBOX_BYTES: Final = 1 << 20
SUFFIX: Final = ".sock"
_URGENT: Final = b"!"
_PLAIN: Final = b"."


class LocalBoard:
    """See `gateway.store.board.Board`. A datagram is `!` or `.`, the sender's instance, a newline, and its post."""

    def __init__(self, folder: Path, instance: str) -> None:
        # Relative where that is shorter: the path of a socket may have about a hundred bytes.
        self._folder = min(str(folder), os.path.relpath(folder), key=len)
        self._instance = instance
        self._socket: socket.socket | None = None
        self._posts: dict[str, tuple[int, bytes]] = {}
        self._urgent: dict[str, bytes] = {}
        self._woken = asyncio.Event()

    async def exchange(self, text: bytes, *, urgent: bool) -> Reading:
        own = self._open()
        datagram = b"%s%s\n%s" % (_URGENT if urgent else _PLAIN, self._instance.encode(), text)
        if len(datagram) > POST_BYTES_MAX:
            raise StoreAway("there is more to say of providers than a datagram holds")
        for path in self._others():
            try:
                own.sendto(datagram, path)
            except (ConnectionRefusedError, FileNotFoundError):
                with suppress(OSError):
                    os.unlink(path)  # its worker is dead
            except OSError:
                continue  # its inbox is full; it hears the next one
        self._receive(own)
        now_ms = time.time_ns() // 1_000_000
        self._posts = {name: post for name, post in self._posts.items() if now_ms - post[0] <= POST_LIFE_MS}
        return Reading(now_ms, {name: post for name, (_, post) in self._posts.items()})

    async def wake(self) -> Mapping[str, bytes]:
        self._open()
        with suppress(TimeoutError):
            async with asyncio.timeout(WAKE_S):
                await self._woken.wait()
        self._woken.clear()
        urgent, self._urgent = self._urgent, {}
        return urgent

    async def aclose(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
            with suppress(OSError):
                os.unlink(self._path())

    def _open(self) -> socket.socket:
        if self._socket is None:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                os.makedirs(self._folder, mode=0o700, exist_ok=True)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, INBOX_BYTES)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, INBOX_BYTES)
                opened.setblocking(False)
                opened.bind(self._path())
            except OSError as error:
                opened.close()
                raise StoreAway(f"workers cannot tell each other of providers: {error.strerror or error}") from error
            asyncio.get_running_loop().add_reader(opened.fileno(), self._receive, opened)
            self._socket = opened
        return self._socket

    def _path(self) -> str:
        return os.path.join(self._folder, self._instance + SUFFIX)

    def _others(self) -> Iterator[str]:
        with suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                if name.endswith(SUFFIX) and name != self._instance + SUFFIX:
                    yield os.path.join(self._folder, name)

    def _receive(self, own: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                head, _, post = own.recv(POST_BYTES_MAX).partition(b"\n")
                name = head[1:].decode("ascii", "replace")
                self._posts[name] = (time.time_ns() // 1_000_000, post)
                if head.startswith(_URGENT):
                    self._urgent[name] = post
                    self._woken.set()
