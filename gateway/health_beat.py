"""Tells the other workers how providers fare, and hears it from them: once a second, and at once where something
happened. Nothing of it is on a request's path; without a board each worker goes by its own view.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import msgspec

from gateway.routing.health import HealthBook
from gateway.routing.health_board import Post
from gateway.store.base import StoreAway
from gateway.store.board import POST_LIFE_MS, Board, Reading

BEAT_S: Final = 1.0
CANCEL_S: Final = 0.1

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Post).decode


class HealthBeat:
    """One per worker."""

    def __init__(self, book: HealthBook, board: Board, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._book = book
        self._board = board
        self._clock = clock
        self._news = asyncio.Event()
        self._posts: dict[str, Post] = {}
        self._read_s = 0.0
        self._tasks: list[asyncio.Future[None]] = []
        self.away: str | None = None
        """Why the board cannot be read now, or None."""
        book.clock.zero_ms = time.time() * 1000 - clock() * 1000
        book.on_news = self._news.set

    def start(self) -> None:
        self._tasks = [asyncio.ensure_future(run) for run in (self._beat(), self._listen())]

    async def aclose(self) -> None:
        running = set(self._tasks)
        while running:
            for task in running:
                task.cancel()
            # Again, as a driver that is just connecting may lose a cancellation.
            _, running = await asyncio.wait(running, timeout=CANCEL_S)
        await self._board.aclose()

    async def _beat(self) -> None:
        while True:
            urgent = self._news.is_set()
            self._news.clear()
            await self._exchange(urgent=urgent)
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._news.wait()

    async def _exchange(self, *, urgent: bool) -> None:
        begun_s = self._clock()
        try:
            reading: Reading = await self._board.exchange(_encode(self._book.post(begun_s)), urgent=urgent)
        except StoreAway as away:
            self.away = away.reason
            if self._posts and self._clock() - self._read_s > POST_LIFE_MS / 1000:
                self._posts = {}
                self._hear()
            if urgent:
                self._news.set()  # said again once the board is back
                await asyncio.sleep(BEAT_S)
            return
        self.away = None
        self._read_s = self._clock()
        self._book.clock.zero_ms = reading.now_ms - (begun_s + self._read_s) / 2 * 1000
        self._posts = _understood(reading.posts)
        self._hear()

    async def _listen(self) -> None:
        while True:
            try:
                posts = await self._board.wake()
            except StoreAway:
                await asyncio.sleep(BEAT_S)
                continue
            if posts:
                self._posts.update(_understood(posts))
                self._hear()

    def _hear(self) -> None:
        self._book.hear(self._posts.values(), self._clock())


def _understood(posts: Mapping[str, bytes]) -> dict[str, Post]:
    """Posts by instance; one that a worker of another version wrote in another form is passed over."""
    found = {}
    for instance, text in posts.items():
        with suppress(msgspec.MsgspecError):
            found[instance] = _decode(text)
    return found
