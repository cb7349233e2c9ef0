"""A caller may be cancelled at every await. The connection in use is dropped, slots and turns pass on."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.upstream.channel import Channel
from gateway.upstream.origin import Origin
from gateway.upstream.pool import Pool
from gateway.upstream.response import Response
from tests.upstream.conftest import Run
from tests.upstream.peer import OK, PATIENT, Conversation, get, in_state, listening, pooled, post

LIMIT = 1 << 20


class Gone:
    """Counts the connections that a caller has closed."""

    def __init__(self) -> None:
        self.count = asyncio.Semaphore(0)

    async def silent(self, talk: Conversation) -> None:
        await talk.hung_up()
        self.count.release()

    async def starts(self, talk: Conversation) -> None:
        await talk.request()
        talk.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await self.silent(talk)


async def answers_later(talk: Conversation) -> None:
    while True:
        await talk.request()
        await asyncio.sleep(0.01)
        talk.say(OK)


async def cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_while_connecting(run: Run) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as filler:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            origin = Origin("http", "127.0.0.1", listener.getsockname()[1])
            async with pooled(connections_max=1) as pool:
                connecting = asyncio.create_task(get(pool, origin))
                await asyncio.sleep(0)
                waiting = asyncio.create_task(get(pool, origin))
                await in_state(pool, origin, "1 active, 0 idle, 1 waiting")
                await cancelled(connecting)
                assert str(pool.stats()[origin]) == "1 active, 0 idle"  # the turn has passed on
                await cancelled(waiting)
                assert str(pool.stats()[origin]) == "0 active, 0 idle"

    run(story())


def test_while_waiting_for_a_connection(run: Run) -> None:
    async def story() -> None:
        gone = Gone()
        async with listening(gone.starts) as peer, pooled(connections_max=1) as pool:
            response = await get(pool, peer.origin)
            waiting = [asyncio.create_task(get(pool, peer.origin)) for _ in range(3)]
            await in_state(pool, peer.origin, "1 active, 0 idle, 3 waiting")
            await cancelled(waiting[0])
            assert str(pool.stats()[peer.origin]) == "1 active, 0 idle, 2 waiting"
            response.close()
            second = await waiting[1]
            await cancelled(waiting[2])
            second.close()
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"

    run(story())


def at_hand_over(pool: Pool, origin: Origin, act: Callable[[], object]) -> None:
    """Do something in the very turn in which a connection is freed, before any task has noticed."""
    site = pool._sites[origin]
    on_free = site.on_free

    def on_free_and_act(channel: Channel) -> None:
        on_free(channel)
        act()

    site.on_free = on_free_and_act  # type: ignore[method-assign]


def test_after_a_connection_was_handed_over_but_before_it_was_used(run: Run) -> None:
    async def story() -> None:
        async with listening(answers_later) as peer, pooled(connections_max=1) as pool:
            first, second, third = (asyncio.create_task(get(pool, peer.origin)) for _ in range(3))
            await in_state(pool, peer.origin, "1 active, 0 idle, 2 waiting")
            at_hand_over(pool, peer.origin, second.cancel)
            assert await (await first).read(LIMIT) == await (await third).read(LIMIT) == b"ok"
            await cancelled(second)
            assert str(pool.stats()[peer.origin]) == "0 active, 1 idle"
            assert peer.connections == 1

    run(story())


def test_when_the_answer_is_there_and_its_connection_belongs_to_somebody_else(run: Run) -> None:
    async def story() -> None:
        async with listening(answers_later) as peer, pooled(connections_max=1) as pool:
            first, second = (asyncio.create_task(get(pool, peer.origin)) for _ in range(2))
            await in_state(pool, peer.origin, "1 active, 0 idle, 1 waiting")
            at_hand_over(pool, peer.origin, first.cancel)
            assert await (await second).read(LIMIT) == b"ok"
            await cancelled(first)
            assert str(pool.stats()[peer.origin]) == "0 active, 1 idle"
            assert peer.connections == 1

    run(story())


def test_after_a_slot_was_handed_over_but_before_it_was_used(run: Run) -> None:
    async def story() -> None:
        gone = Gone()
        async with listening(gone.starts) as peer, pooled(connections_max=1) as pool:
            response = await get(pool, peer.origin)
            second = asyncio.create_task(get(pool, peer.origin))
            third = asyncio.create_task(get(pool, peer.origin))
            await in_state(pool, peer.origin, "1 active, 0 idle, 2 waiting")
            response.close()
            await cancelled(second)
            (await third).close()
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"

    run(story())


def test_while_writing(run: Run) -> None:
    async def story() -> None:
        async def reads_nothing(talk: Conversation) -> None:
            talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await over.wait()

        over = asyncio.Event()
        async with listening(reads_nothing) as peer, pooled() as pool:
            task = asyncio.create_task(post(pool, peer.origin, bytes(50_000_000)))
            while not peer.connections:
                await asyncio.sleep(0)
            await cancelled(task)
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"
            over.set()

    run(story())


def test_while_waiting_for_the_answer(run: Run) -> None:
    async def story() -> None:
        gone = Gone()
        async with listening(gone.silent) as peer, pooled() as pool:
            task = asyncio.create_task(post(pool, peer.origin, b"{}"))
            while not peer.connections:
                await asyncio.sleep(0)
            await cancelled(task)
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"
            await gone.count.acquire()

    run(story())


@pytest.mark.parametrize("way", ["chunk", "whole"])
def test_while_reading(run: Run, way: str) -> None:
    def read(response: Response) -> Awaitable[bytes]:
        return response.read_chunk() if way == "chunk" else response.read(LIMIT)

    async def story() -> None:
        gone = Gone()
        async with listening(gone.starts) as peer, pooled() as pool:
            response = await get(pool, peer.origin)
            assert await response.read_chunk() == b"one"
            task = asyncio.ensure_future(read(response))
            await asyncio.sleep(0)
            await cancelled(task)
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"
            await gone.count.acquire()

    run(story())


def test_a_storm_of_cancellations_leaks_nothing(run: Run) -> None:
    async def slowish(talk: Conversation) -> None:
        while True:
            await talk.request()
            await asyncio.sleep(0.001)
            talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok")
            await asyncio.sleep(0.001)
            talk.say(b"ok")

    async def story() -> None:
        async with listening(slowish) as peer, pooled(connections_max=5) as pool:

            async def one() -> None:
                response = await pool.send(peer.origin, b"GET", b"/", (), b"", PATIENT)
                assert await response.read(LIMIT) == b"okok"

            for wave in range(30):
                tasks = [asyncio.create_task(one()) for _ in range(20)]
                for turn, task in enumerate(tasks):
                    if turn % 3:
                        asyncio.get_running_loop().call_later(0.0003 * ((turn * 7 + wave) % 20), task.cancel)
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
                stats = pool.stats()[peer.origin]
                assert (stats.active, stats.waiting) == (0, 0)
                assert stats.idle <= 5

    run(story())
