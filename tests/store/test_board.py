"""The board between workers: what one puts up the others read, and what is urgent wakes them."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.config.catalog import Breaker
from gateway.health_beat import HealthBeat
from gateway.routing.health import HealthBook
from gateway.store.base import Store, StoreAway
from gateway.store.board import POST_LIFE_MS, Board
from gateway.store.local_board import LocalBoard
from gateway.store.open import open_store
from gateway.store.redis.names import BoardNames
from tests.store.conftest import OpenStore
from tests.store.redis_server import RedisServer
from tests.unit.catalogs import offer

A = offer("a")


def with_boards(store_at: OpenStore, act: Callable[..., Awaitable[None]], count: int = 2) -> None:
    """`act` with the boards of so many workers, each with a store of its own."""

    async def opened() -> None:
        stores: list[Store] = [await store_at() for _ in range(count)]
        boards = [store.board(f"worker-{i}") for i, store in enumerate(stores)]
        try:
            async with asyncio.timeout(10):
                await act(*boards)
        finally:
            for board, store in zip(boards, stores, strict=True):
                await board.aclose()
                await store.aclose()

    asyncio.run(opened())


def test_what_one_puts_up_the_others_read(store_at: OpenStore) -> None:
    async def act(one: Board, two: Board) -> None:
        await two.exchange(b"hello", urgent=False)
        await one.exchange(b"old", urgent=False)
        await one.exchange(b'{"new": "post"}', urgent=False)
        reading = await two.exchange(b"hello", urgent=False)
        assert reading.posts == {"worker-0": b'{"new": "post"}'}
        assert abs(reading.now_ms - time.time() * 1000) < 1000

    with_boards(store_at, act)


def test_what_is_urgent_wakes_the_others_and_nobody_else(store_at: OpenStore) -> None:
    async def act(one: Board, two: Board) -> None:
        await one.exchange(b"", urgent=False)
        waiting = [asyncio.ensure_future(board.wake()) for board in (one, two)]
        await asyncio.sleep(0.05)
        begun_s = time.monotonic()
        await one.exchange(b"quiet!", urgent=True)
        assert await waiting[1] == {"worker-0": b"quiet!"}
        assert time.monotonic() - begun_s < 0.5
        assert await waiting[0] == {}

    with_boards(store_at, act)


def test_who_says_nothing_any_more_has_no_say(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.command("FLUSHALL")
    names = BoardNames("gw")
    long_ago = int(time.time() * 1000) - POST_LIFE_MS - 1
    redis_server.command("HSET", names.posts, "dead", f"{long_ago} post")

    async def act(one: Board) -> None:
        assert (await one.exchange(b"", urgent=False)).posts == {}

    with_boards(lambda: open_store(state_dir=tmp_path, redis_url=redis_server.url), act, count=1)
    assert redis_server.command("HKEYS", names.posts) == "worker-0"
    assert 0 < int(redis_server.command("PTTL", names.posts)) <= POST_LIFE_MS * 4


def test_the_socket_of_a_dead_worker_is_cleared_away(tmp_path: Path) -> None:
    folder = tmp_path / "health"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(folder / "dead.sock"))

    async def act() -> None:
        board = LocalBoard(folder, "alive")
        await board.exchange(b"", urgent=False)
        assert os.listdir(folder) == ["alive.sock"]
        await board.aclose()
        assert os.listdir(folder) == []

    asyncio.run(act())


def test_a_folder_too_deep_for_a_socket_is_a_board_that_is_away(tmp_path: Path) -> None:
    async def act() -> None:
        with pytest.raises(StoreAway, match="workers cannot tell each other"):
            await LocalBoard(tmp_path / ("deep" * 30), "alive").exchange(b"", urgent=False)

    asyncio.run(act())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


def test_news_is_with_the_others_at_once_and_not_with_the_next_beat(store_at: OpenStore) -> None:
    async def act(one: Board, two: Board) -> None:
        books = [HealthBook(Breaker()), HealthBook(Breaker())]
        beats = [HealthBeat(book, board) for book, board in zip(books, (one, two), strict=True)]
        for beat in beats:
            beat.start()
        # Both have made their first round when the clock of the second one is the board's.
        books[0].cool(offer("warm"), time.monotonic() + 100)
        await until(lambda: books[1].look(offer("warm"), time.monotonic()).cooling_s > 0)
        begun_s = time.monotonic()
        books[0].cool(A, begun_s + 5)
        await until(lambda: books[1].look(A, time.monotonic()).cooling_s > 0)
        assert time.monotonic() - begun_s < 0.5
        assert books[1].look(A, begun_s).cooling_s == pytest.approx(5, abs=0.05)
        for beat in beats:
            await beat.aclose()

    with_boards(store_at, act)


def test_without_a_board_each_goes_by_its_own_view_until_it_is_back(tmp_path: Path) -> None:
    async def act(server: RedisServer) -> None:
        store = await open_store(state_dir=tmp_path, redis_url=server.url)
        book = HealthBook(Breaker())
        beat = HealthBeat(book, store.board("worker"))
        beat.start()
        await until(lambda: bool(server.command("HKEYS", BoardNames("gw").posts)))
        server.kill()
        book.cool(A, time.monotonic() + 60)
        await until(lambda: beat.away is not None)
        assert book.look(A, time.monotonic()).cooling_s > 0
        server.start()
        await until(lambda: beat.away is None)
        assert A.provider.account in server.command("HVALS", BoardNames("gw").posts)
        await beat.aclose()
        await store.aclose()

    with RedisServer(persist=False) as server:
        asyncio.run(act(server))
