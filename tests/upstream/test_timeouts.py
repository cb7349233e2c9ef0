"""Each phase of an exchange has its own time-out and its own exception, and none leaks a connection."""

import asyncio
import socket
from dataclasses import replace

import pytest

from gateway.upstream.faults import (
    ConnectTimedOut,
    FirstByteTimedOut,
    PoolTimedOut,
    ReadTimedOut,
    TimedOut,
    WriteTimedOut,
)
from gateway.upstream.origin import Origin
from tests.upstream.conftest import Run
from tests.upstream.peer import OK, PATIENT, Conversation, get, in_state, listening, pooled, post

SHORT_S = 0.05
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LIMIT = 1 << 20


async def silent(talk: Conversation) -> None:
    await talk.request()
    await talk.hung_up()


async def starts(talk: Conversation) -> None:
    await talk.request()
    talk.say(CHUNKED + b"3\r\none\r\n")
    await talk.hung_up()


def test_connecting(run: Run) -> None:
    async def story() -> None:
        # A listener with a full queue: the kernel drops further handshakes.
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as filler:
            filler.setblocking(False)
            origin = Origin("http", "127.0.0.1", listener.getsockname()[1])
            filler.connect_ex(listener.getsockname())
            async with pooled() as pool:
                with pytest.raises(ConnectTimedOut):
                    await get(pool, origin, replace(PATIENT, connect_s=SHORT_S))
                assert str(pool.stats()[origin]) == "0 active, 0 idle"

    run(story())


def test_waiting_for_a_connection(run: Run) -> None:
    async def story() -> None:
        async with listening(silent) as peer, pooled(connections_max=1) as pool:
            busy = asyncio.create_task(get(pool, peer.origin))
            await in_state(pool, peer.origin, "1 active, 0 idle")
            with pytest.raises(PoolTimedOut):
                await get(pool, peer.origin, replace(PATIENT, pool_s=SHORT_S))
            assert str(pool.stats()[peer.origin]) == "1 active, 0 idle"
            busy.cancel()
            await asyncio.wait([busy])

    run(story())


def test_writing(run: Run) -> None:
    async def reads_nothing(talk: Conversation) -> None:
        talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(5)

    async def story() -> None:
        async with listening(reads_nothing) as peer, pooled() as pool:
            with pytest.raises(WriteTimedOut):
                await post(pool, peer.origin, bytes(50_000_000), replace(PATIENT, write_s=SHORT_S))
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"

    run(story())


def test_the_first_byte(run: Run) -> None:
    async def story() -> None:
        async with listening(silent) as peer, pooled() as pool:
            with pytest.raises(FirstByteTimedOut):
                await post(pool, peer.origin, b"{}", replace(PATIENT, first_byte_s=SHORT_S))
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"

    run(story())


def test_a_head_that_drips_is_no_first_byte(run: Run) -> None:
    async def drips(talk: Conversation) -> None:
        await talk.request()
        talk.say(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            talk.say(b"y")
            await asyncio.sleep(0.01)

    async def story() -> None:
        async with listening(drips) as peer, pooled() as pool:
            with pytest.raises(FirstByteTimedOut):
                await get(pool, peer.origin, replace(PATIENT, first_byte_s=SHORT_S))

    run(story())


def test_the_first_byte_counts_from_the_written_request(run: Run) -> None:
    async def reads_late(talk: Conversation) -> None:
        await asyncio.sleep(0.4)
        await talk.request()
        talk.say(OK)
        await talk.hung_up()

    async def story() -> None:
        async with listening(reads_late) as peer, pooled() as pool:
            # More than the kernel's buffers take, so that it cannot be written before the peer reads.
            response = await post(pool, peer.origin, bytes(10_000_000), replace(PATIENT, first_byte_s=0.3))
            assert await response.read(LIMIT) == b"ok"

    run(story())


def test_between_bytes(run: Run) -> None:
    async def story() -> None:
        async with listening(starts) as peer, pooled() as pool:
            response = await get(pool, peer.origin, replace(PATIENT, between_bytes_s=SHORT_S))
            assert await response.read_chunk() == b"one"
            with pytest.raises(ReadTimedOut):
                await response.read_chunk()
            assert str(pool.stats()[peer.origin]) == "0 active, 0 idle"

    run(story())


def test_framing_without_body_is_still_silence(run: Run) -> None:
    async def drips(talk: Conversation) -> None:
        await talk.request()
        talk.say(CHUNKED + b"3;x=")
        while True:
            talk.say(b"y")
            await asyncio.sleep(0.01)

    async def story() -> None:
        async with listening(drips) as peer, pooled() as pool:
            response = await get(pool, peer.origin, replace(PATIENT, between_bytes_s=SHORT_S))
            with pytest.raises(ReadTimedOut):
                await response.read_chunk()

    run(story())


def test_a_stream_slower_than_the_time_out_in_all_but_not_between_bytes(run: Run) -> None:
    allowed_s = 0.5  # so much more than a pause that a busy machine does not fill it

    async def steady(talk: Conversation) -> None:
        await talk.request()
        talk.say(CHUNKED)
        for _ in range(10):
            talk.say(b"1\r\na\r\n")
            await asyncio.sleep(allowed_s / 8)
        talk.say(b"0\r\n\r\n")
        await talk.hung_up()

    async def story() -> None:
        async with listening(steady) as peer, pooled() as pool:
            response = await get(pool, peer.origin, replace(PATIENT, between_bytes_s=allowed_s))
            assert await response.read(LIMIT) == b"a" * 10

    run(story())


def test_no_time_passes_while_nobody_reads(run: Run) -> None:
    go = asyncio.Event()

    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(CHUNKED + b"3\r\none\r\n")
        await go.wait()
        talk.say(b"3\r\ntwo\r\n0\r\n\r\n")
        await talk.hung_up()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            response = await get(pool, peer.origin, replace(PATIENT, first_byte_s=SHORT_S, between_bytes_s=SHORT_S))
            await asyncio.sleep(3 * SHORT_S)
            assert await response.read_chunk() == b"one"
            await asyncio.sleep(3 * SHORT_S)
            go.set()
            assert await response.read(LIMIT) == b"two"

    run(story())


def test_the_caller_may_change_and_lift_the_read_time_out(run: Run) -> None:
    go = asyncio.Event()

    async def script(talk: Conversation) -> None:
        await talk.request()
        talk.say(CHUNKED)
        await go.wait()
        talk.say(b"3\r\none\r\n")
        await talk.hung_up()

    async def story() -> None:
        async with listening(script) as peer, pooled() as pool:
            response = await get(pool, peer.origin, replace(PATIENT, between_bytes_s=SHORT_S))
            response.read_timeout_s = None
            asyncio.get_running_loop().call_later(2 * SHORT_S, go.set)
            assert await response.read_chunk() == b"one"
            response.read_timeout_s = SHORT_S
            with pytest.raises(ReadTimedOut):
                await response.read_chunk()

    run(story())


@pytest.mark.parametrize("fault", [ConnectTimedOut, PoolTimedOut, WriteTimedOut, FirstByteTimedOut, ReadTimedOut])
def test_all_are_one_family(fault: type[TimedOut]) -> None:
    assert issubclass(fault, TimedOut)
    assert not issubclass(fault, TimeoutError)
